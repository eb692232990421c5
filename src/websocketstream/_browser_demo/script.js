// The page: starts runs, asks the server how it fares, and shows both halves.

import { Flow, Overflow, Pace, hasStreams, ways } from './flows.js'
import { draw, step } from './plot.js'

const MIB = 2 ** 20
const RUN_SECONDS = 60
// What may pile up in the page. ?limit=64 says otherwise, in MiB.
const LIMIT = (Number(new URLSearchParams(location.search).get('limit')) || 256) * MIB

const find = selector => document.querySelector(selector)
const calm = matchMedia('(prefers-reduced-motion: reduce)')
const mib = bytes => `${(bytes / MIB).toFixed(1)} MiB`
const time = seconds => `${seconds.toFixed(1)} s`

const WORDS = {
  download: {
    reader: 'The page',
    sender: 'The server',
    inPage: { classic: 'waiting in this page', stream: 'waiting in this page' },
    inServer: "waiting in the server's send buffer"
  },
  upload: {
    reader: 'The server',
    sender: 'The page',
    inPage: { classic: 'waiting to be sent (bufferedAmount)', stream: 'waiting to be sent' },
    inServer: "waiting in the server's receive buffer"
  }
}

/** One half of the page: what it shows of one flow. */
class Half {
  constructor (kind) {
    this.kind = kind
    this.element = find(`#${kind}`)
    this.canvas = this.element.querySelector('canvas')
    this.table = this.element.querySelector('table')
    this.verdict = this.element.querySelector('.verdict')
  }

  begin (direction, flow) {
    Object.assign(this, { direction, flow, ended: false, server: null, now: null })
    this.lines = [
      { name: 'sent', color: 'sent', at: [] },
      { name: 'read', color: 'read', dash: [5, 3], at: [] }
    ]
  }

  /** Take what the server says, and what the page knows at this moment. */
  sample (seconds, server) {
    if (this.ended || !server) return
    this.server = server
    const flow = this.flow
    const isDownload = this.direction === 'download'
    const read = isDownload ? flow.read : Math.min(server.read, flow.sent)
    const inServer = isDownload ? server.toNetwork : server.toReader
    if (!isDownload) flow.underWay = flow.sent - read - inServer
    const inPage = flow.inPage()
    // What the server says is a little older than what the page knows.
    const sent = isDownload ? Math.max(server.sent, read + inPage) : flow.sent
    this.now = {
      sent,
      read,
      inPage,
      inServer,
      onTheWay: Math.max(0, sent - read - inPage - inServer),
      heldBack: isDownload ? server.senderHeldBack : flow.heldBack.seconds,
      seconds
    }
    this.lines[0].at.push([seconds, sent])
    this.lines[1].at.push([seconds, read])
  }

  get rows () {
    const words = WORDS[this.direction]
    return [
      [`sent by ${words.sender.toLowerCase()}`, mib(this.now.sent)],
      [`read by ${words.reader.toLowerCase()}`, mib(this.now.read)],
      [words.inPage[this.kind], mib(this.now.inPage)],
      ['waiting on the way, in the buffers of the browser and of the system', mib(this.now.onTheWay)],
      [words.inServer, mib(this.now.inServer)],
      [`${words.sender.toLowerCase()} held back`, time(this.now.heldBack)]
    ]
  }

  show () {
    if (!this.now) return
    const { inPage, heldBack, seconds } = this.now
    this.element.querySelector('[data-figure=waiting]').textContent = mib(inPage)
    this.element.querySelector('[data-figure=heldBack]').textContent = time(heldBack)
    this.table.replaceChildren(...this.rows.map(([name, value]) => {
      const row = document.createElement('tr')
      const head = document.createElement('th')
      head.scope = 'row'
      head.textContent = name
      const cell = document.createElement('td')
      cell.textContent = value
      row.append(head, cell)
      return row
    }))
    this.verdict.textContent = this.sentence(inPage, heldBack, seconds)
  }

  sentence (inPage, heldBack, seconds) {
    const sender = WORDS[this.direction].sender
    if (inPage > 2 * MIB) return `${sender} does not know that it is too fast: nobody can tell it.`
    if (heldBack > 0.2 * seconds) return `${sender} waits: it has been held back for ${time(heldBack)} of ${time(seconds)}.`
    return 'Whoever reads keeps up.'
  }
}

const halves = [new Half('classic'), ...(hasStreams ? [new Half('stream')] : [])]

/** One run: a control connection, and a flow for each half. */
class Run {
  constructor (direction) {
    this.direction = direction
    this.ending = new AbortController()
    this.paces = []
    this.memory = [
      { name: 'this page', color: 'sent', at: [] },
      { name: 'server', color: 'server', dash: [5, 3], at: [] }
    ]
    this.seconds = 0
    this.control = new WebSocket(`ws://${location.host}/control`)
    this.control.onmessage = ({ data }) => this.begin(JSON.parse(data))
    this.control.onclose = () => this.end('The server has gone: start it again, and then the demonstration.')
  }

  get signal () { return this.ending.signal }

  begin ({ run, message, offered }) {
    this.control.onmessage = ({ data }) => this.hear(JSON.parse(data))
    this.read(rate())
    for (const half of halves) {
      const reading = new Pace(rate(), this.signal)
      this.paces.push(reading)
      const url = `ws://${location.host}/${this.direction}?run=${run}&flow=${half.kind}`
      const flow = new Flow({ url, size: message, offered, limit: LIMIT, reading, signal: this.signal })
      half.begin(this.direction, flow)
      ways[this.direction][half.kind](flow).catch(error => this.lose(half, flow, error))
    }
  }

  lose (half, flow, error) {
    if (half.flow !== flow) return // the half shows another run by now
    half.sample(this.seconds, half.server)
    half.ended = true
    half.show()
    if (this.signal.aborted) return
    if (error instanceof Overflow) {
      tell(`Stopped at ${LIMIT / MIB} MiB: WebSocket has no way to make the sender wait, so this page closed the connection ` +
        'before your browser ran out of memory.')
    } else {
      tell(`A connection was lost: ${error.message || error}.`)
    }
  }

  hear ({ seconds, memory, flows }) {
    this.seconds = seconds
    for (const half of halves) half.sample(seconds, flows[half.kind])
    // Chromium alone tells; there it is the page's heap and what its arrays take outside of it.
    const ours = performance.memory?.usedJSHeapSize
    if (ours) this.memory[0].at.push([seconds, ours])
    if (memory) this.memory[1].at.push([seconds, memory])
    show(this)
    if (seconds >= RUN_SECONDS) this.end('A minute is over.')
  }

  /** Tell the server how fast to read, and go on reading so fast here. */
  read (rate) {
    if (this.control.readyState === WebSocket.OPEN) this.control.send(JSON.stringify({ reading: rate }))
    for (const pace of this.paces) pace.rate = rate
  }

  end (sentence) {
    if (this.signal.aborted) return
    this.ending.abort(new Error('the run is over'))
    this.control.onclose = this.control.onmessage = null
    this.control.close()
    find('#stop').disabled = true
    tell(sentence)
  }
}

const tell = sentence => { find('#news').textContent = sentence }
const rate = () => Number(find('#rate').value) * MIB

let run = null
let shownAt = -Infinity

function show (current) {
  // Who wants little motion sees a new picture each second.
  if (calm.matches && performance.now() - shownAt < 1000) return
  shownAt = performance.now()
  for (const half of halves) half.show()
  showMemory(current)
  requestAnimationFrame(() => drawAll(current))
}

function showMemory ({ memory: lines, direction }) {
  const parts = lines.filter(line => line.at.length).map(line => `${line.name} ${mib(line.at.at(-1)[1])}`)
  const notes = []
  if (!lines[0].at.length) notes.push('This browser does not tell how much memory a page takes.')
  else if (direction === 'upload') notes.push('What bufferedAmount counts is kept by the browser outside of the page, and is not in it.')
  find('#memory-text').textContent = [`Now: ${parts.join(', ') || 'unknown'}.`, ...notes].join(' ')
}

const largest = lines => Math.max(0, ...lines.flatMap(line => line.at.slice(-1)).map(([, bytes]) => bytes))
const peak = lines => Math.max(0, ...lines.flatMap(line => line.at).map(([, bytes]) => bytes))

function drawAll (current) {
  const begun = halves.filter(half => half.lines)
  const seconds = Math.max(10, current.seconds)
  // The same scale for both, so that they can be compared.
  const top = roomy(largest(begun.flatMap(half => half.lines)))
  for (const half of begun) draw(half.canvas, { lines: half.lines, area: half.lines, seconds, top })
  draw(find('#memory canvas'), { lines: current.memory, seconds, top: roomy(peak(current.memory)) })
}

/** The end of an axis on which the largest value has room for its name. */
function roomy (value) {
  const wanted = Math.max(value * 1.15, 8 * MIB)
  const distance = step(wanted / MIB, 4) * MIB
  return Math.ceil(wanted / distance) * distance
}

function start () {
  run?.end('')
  const direction = find('input[name=direction]:checked').value
  for (const element of document.querySelectorAll('[data-for]')) element.hidden = element.dataset.for !== direction
  find('#reader').textContent = WORDS[direction].reader
  find('#stop').disabled = false
  tell('')
  shownAt = -Infinity
  run = new Run(direction)
}

function turn () {
  const text = find('#rate').value === '0' ? 'nothing' : `${find('#rate').value} MiB/s`
  find('#rate-text').textContent = text
  find('#rate').setAttribute('aria-valuetext', text)
  run?.read(rate())
}

find('#stream .present').hidden = !hasStreams
find('#stream .missing').hidden = hasStreams
find('#rate').addEventListener('input', turn)
find('#again').addEventListener('click', start)
find('#stop').addEventListener('click', () => run.end('Stopped.'))
for (const radio of document.querySelectorAll('input[name=direction]')) radio.addEventListener('change', start)
for (const query of ['(prefers-color-scheme: dark)', '(prefers-reduced-motion: reduce)']) {
  matchMedia(query).addEventListener('change', () => drawAll(run))
}
new ResizeObserver(() => drawAll(run)).observe(find('main'))
turn()
start()
