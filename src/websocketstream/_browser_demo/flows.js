// The four ways in which bytes flow: to the page and from it, by the classic API and by streams.

/** As https://developer.chrome.com/docs/capabilities/web-apis/websocketstream detects it. */
export const hasStreams = 'WebSocketStream' in window

// What the buffers of two systems hold. Whatever else is under way waits in the browser, also when `bufferedAmount` stays at
// nearly nothing, as Chromium's sometimes does.
const SYSTEM = 16 * 2 ** 20

const AHEAD_SECONDS = 0.1 // of what a pace allows, that may pass at once after a pause: timers are no more exact than that

/** Lets so many bytes pass in a second; the rate may change while somebody waits, and zero lets nothing pass. */
export class Pace {
  #rate
  #credit = 0
  #countedAt = performance.now()
  #wake = () => {}

  constructor (rate, signal) {
    this.#rate = rate
    this.signal = signal
    signal.addEventListener('abort', () => this.#wake(), { once: true })
  }

  set rate (rate) {
    this.#earn()
    this.#rate = rate
    this.#wake()
  }

  /** Wait until so many bytes may pass; throws once the signal is aborted. */
  async spend (size) {
    for (;;) {
      this.signal.throwIfAborted()
      this.#earn()
      this.#credit = Math.min(this.#credit, size + AHEAD_SECONDS * this.#rate)
      const missing = size - this.#credit
      if (missing < 1) break // times are no exact numbers
      await this.#nap(missing / this.#rate * 1000)
    }
    this.#credit -= size
  }

  #earn () {
    const now = performance.now()
    this.#credit += (now - this.#countedAt) / 1000 * this.#rate
    this.#countedAt = now
  }

  #nap (milliseconds) {
    return new Promise(resolve => {
      const timer = Number.isFinite(milliseconds) ? setTimeout(resolve, milliseconds) : undefined
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}

/** Adds up the time in which somebody was held back. */
class Stopwatch {
  #total = 0
  #since = null

  start () { this.#since = performance.now() }

  stop () {
    this.#total += performance.now() - this.#since
    this.#since = null
  }

  get seconds () { return (this.#total + (this.#since === null ? 0 : performance.now() - this.#since)) / 1000 }
}

/** What the page knows of one connection; sizes in bytes. */
export class Flow {
  sent = 0
  read = 0
  underWay = 0 // of what an upload has sent, as far as the server has said what it has received
  heldBack = new Stopwatch()
  inPage = () => 0 // how much waits in the page, as far as its API lets one know

  /**
   * url: of the connection; size: of a message; offered: bytes per second that an upload sends; limit: how much may pile up
   * in the page before it gives up; reading: the pace of who reads here; signal: ends it.
   */
  constructor ({ url, size, offered, limit, reading, signal }) {
    Object.assign(this, { url, size, offered, limit, reading, signal })
  }
}

/** A page that gives up, as this API has no other way. */
export class Overflow extends Error {}

/** Resolves with the next event of that name; rejects when the signal is aborted or the connection ends. */
function next (socket, name, signal) {
  return new Promise((resolve, reject) => {
    socket.addEventListener(name, resolve, { once: true })
    socket.addEventListener('close', () => reject(new Error('the connection has ended')), { once: true })
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

async function classicDownload (flow) {
  const queue = []
  let piled = 0
  let arrived = () => {}
  flow.inPage = () => piled
  const socket = new WebSocket(flow.url)
  socket.binaryType = 'arraybuffer'
  try {
    const failed = new Promise((resolve, reject) => {
      flow.signal.addEventListener('abort', () => reject(flow.signal.reason), { once: true })
      socket.onclose = () => reject(new Error('the connection has ended'))
      // Nothing can be said to whoever sends: all that is left is to keep what comes, or to give up.
      socket.onmessage = ({ data }) => {
        queue.push(data)
        piled += data.byteLength
        arrived()
        if (piled >= flow.limit) reject(new Overflow())
      }
    })
    const readSlowly = async () => {
      for (;;) {
        await flow.reading.spend(flow.size)
        while (!queue.length) await new Promise(resolve => { arrived = resolve })
        const { byteLength } = queue.shift()
        piled -= byteLength
        flow.read += byteLength
      }
    }
    await Promise.race([failed, readSlowly()])
  } finally {
    socket.onmessage = null
    socket.onclose = null
    socket.close()
    queue.length = 0
  }
}

async function streamDownload (flow) {
  const stream = new WebSocketStream(flow.url, { signal: flow.signal })
  const reader = (await stream.opened).readable.getReader()
  const cancel = () => reader.cancel().catch(() => {})
  flow.signal.addEventListener('abort', cancel, { once: true })
  for (;;) {
    await flow.reading.spend(flow.size)
    const { value, done } = await reader.read()
    if (done) throw new Error('the connection has ended')
    flow.read += value.byteLength
  }
}

async function classicUpload (flow) {
  const socket = new WebSocket(flow.url)
  const chunk = new Uint8Array(flow.size)
  const pace = new Pace(flow.offered, flow.signal)
  flow.inPage = () => Math.max(socket.bufferedAmount, flow.underWay - SYSTEM)
  try {
    await next(socket, 'open', flow.signal)
    for (;;) {
      await pace.spend(flow.size)
      if (socket.readyState !== WebSocket.OPEN) throw new Error('the connection has ended')
      socket.send(chunk)
      flow.sent += flow.size
      if (flow.inPage() >= flow.limit) throw new Overflow()
    }
  } finally {
    socket.close()
  }
}

async function streamUpload (flow) {
  const stream = new WebSocketStream(flow.url, { signal: flow.signal })
  const writer = (await stream.opened).writable.getWriter()
  const chunk = new Uint8Array(flow.size)
  const pace = new Pace(flow.offered, flow.signal)
  flow.inPage = () => Math.max(0, 1 - (writer.desiredSize ?? 1)) * flow.size
  flow.signal.addEventListener('abort', () => writer.abort().catch(() => {}), { once: true })
  for (;;) {
    await pace.spend(flow.size)
    flow.heldBack.start()
    await writer.ready
    flow.heldBack.stop()
    flow.signal.throwIfAborted()
    writer.write(chunk).catch(() => {}) // `ready` rejects with the same
    flow.sent += flow.size
  }
}

export const ways = {
  download: { classic: classicDownload, stream: streamDownload },
  upload: { classic: classicUpload, stream: streamUpload }
}
