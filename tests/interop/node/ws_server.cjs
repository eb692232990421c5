// `ws` as a server: it prints its port; SIGUSR2 lets paused connections go on.
'use strict'

const { WebSocketServer } = require('ws')

const paused = new Set()
process.on('SIGUSR2', () => paused.forEach(socket => socket.resume()))

const server = new WebSocketServer({
  host: '127.0.0.1',
  port: 0,
  perMessageDeflate: { threshold: 0 },
  maxPayload: 32 * 2 ** 20
})
server.on('listening', () => console.log(`port ${server.address().port}`))

function fragments (socket, data, binary) {
  const size = Math.ceil(data.length / 7)
  for (let number = 0; number < 7; number++) {
    socket.send(data.subarray(number * size, (number + 1) * size), { binary, fin: number === 6 })
  }
}

const handlers = {
  '/echo': socket => socket.on('message', (data, binary) => socket.send(data, { binary })),
  '/fragmented': socket => socket.on('message', (data, binary) => fragments(socket, data, binary)),
  '/close': socket => socket.close(4001, 'go'),
  '/vanish': socket => socket.terminate(),
  '/paused': socket => {
    paused.add(socket)
    socket.pause()
    socket.on('message', data => socket.send(String(data.length)))
  },
  '/flood': socket => {
    let sent = 0
    const more = () => socket.send(Buffer.alloc(65536), () => ++sent < 800 ? more() : socket.close(1000))
    more()
  }
}

server.on('connection', (socket, request) => handlers[request.url](socket))
