// `ws` as a client: node ws_client.cjs URL [compress]
'use strict'

const { once } = require('node:events')
const WebSocket = require('ws')
const { MESSAGES, same, report } = require('./contract.cjs')

const [url, compress] = process.argv.slice(2)

const whole = (socket, message) => socket.send(message)

function fragmented (socket, message) {
  const data = Buffer.from(message)
  const size = Math.ceil(data.length / 7)
  for (let number = 0; number < 7; number++) {
    const part = data.subarray(number * size, (number + 1) * size)
    socket.send(part, { binary: typeof message !== 'string', fin: number === 6 })
  }
}

async function echoes (socket) {
  let wrong = 0
  for (const message of MESSAGES) {
    for (const send of [whole, fragmented]) {
      send(socket, message)
      const [data, isBinary] = await once(socket, 'message')
      wrong += !same(message, isBinary ? data : data.toString())
    }
  }
  return wrong
}

async function main () {
  const socket = new WebSocket(url, ['echo'], { perMessageDeflate: compress === 'compress' })
  const closed = once(socket, 'close')
  await once(socket, 'open')
  const result = { protocol: socket.protocol, extensions: socket.extensions }
  if (url.endsWith('/echo') || url.endsWith('/chunks')) {
    result.wrong = await echoes(socket)
    socket.ping('are you there?')
    result.pong = (await once(socket, 'pong'))[0].toString()
    socket.close(4000, 'done')
  }
  const [code, reason] = await closed
  report({ ...result, close: [code, reason.toString()] })
}

main()
