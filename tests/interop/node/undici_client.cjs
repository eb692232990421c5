// undici's two clients: node undici_client.cjs WebSocket|WebSocketStream URL
'use strict'

const { once } = require('node:events')
const { WebSocket, WebSocketStream } = require('undici')
const { MESSAGES, same, report } = require('./contract.cjs')

const [kind, url] = process.argv.slice(2)

async function classic () {
  const socket = new WebSocket(url, ['echo'])
  socket.binaryType = 'arraybuffer'
  const closed = once(socket, 'close')
  await once(socket, 'open')
  const result = { protocol: socket.protocol, extensions: socket.extensions }
  if (url.endsWith('/echo')) {
    result.wrong = 0
    for (const message of MESSAGES) {
      socket.send(message)
      const [{ data }] = await once(socket, 'message')
      result.wrong += !same(message, data)
    }
    socket.close(4000, 'done')
  }
  const [event] = await closed
  report({ ...result, close: [event.code, event.reason] })
}

async function streams () {
  const stream = new WebSocketStream(url, { protocols: ['echo'] })
  const { readable, writable, protocol, extensions } = await stream.opened
  const [reader, writer] = [readable.getReader(), writable.getWriter()]
  const result = { protocol, extensions }
  if (url.endsWith('/echo')) {
    result.wrong = 0
    for (const message of MESSAGES) {
      await writer.write(message)
      result.wrong += !same(message, (await reader.read()).value)
    }
    stream.close({ closeCode: 4000, reason: 'done' })
  }
  if (url.endsWith('/slow')) {
    for (let number = 0; number < 400; number++) {
      await writer.write(new Uint8Array(65536))
      report({ written: number + 1 })
    }
    stream.close({ closeCode: 4000, reason: 'done' })
  }
  const { closeCode, reason } = await stream.closed
  report({ ...result, close: [closeCode, reason] })
}

({ WebSocket: classic, WebSocketStream: streams })[kind]()
