// Plots on a canvas: lines of bytes over seconds, and the area between two of them.

const MIB = 2 ** 20
const PAD = { gap: 6, top: 8, bottom: 22 }
const SMALL = '12px system-ui, sans-serif'
const STRONG = `600 ${SMALL}`
const LABEL = 14 // pixels of height

const color = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

/** The distance of grid lines that gives no more than so many of them. */
export function step (largest, lines) {
  for (let power = 1; ; power *= 10) {
    for (const factor of [1, 2, 5]) {
      if (largest / (factor * power) <= lines) return factor * power
    }
  }
}

/**
 * Draw lines and a filled area.
 *
 * lines: [{ name, color, dash, at: [[seconds, bytes], ...] }], whose names stand at their ends;
 * area: two of the lines; seconds and top: the largest values of the axes.
 */
export function draw (canvas, { lines, area, seconds, top }) {
  const scale = window.devicePixelRatio || 1
  const [width, height] = [canvas.clientWidth, canvas.clientHeight]
  if (!width) return
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale)
    canvas.height = Math.round(height * scale)
  }
  const context = canvas.getContext('2d')
  context.setTransform(scale, 0, 0, scale, 0, 0)
  context.clearRect(0, 0, width, height)
  const box = {
    left: widest(context, SMALL, ticks(top).map(mib)) + PAD.gap,
    right: width - widest(context, STRONG, lines.map(line => line.name)) - PAD.gap,
    top: PAD.top,
    bottom: height - PAD.bottom
  }
  const x = value => box.left + (box.right - box.left) * value / seconds
  const y = value => box.bottom - (box.bottom - box.top) * Math.min(value, top) / top

  drawGrid(context, box, x, y, seconds, top)
  if (area) fill(context, area, x, y)
  for (const line of lines) {
    if (line.at.length) stroke(context, line, x, y)
  }
  label(context, lines.filter(line => line.at.length), x, y, box)
}

const mib = bytes => `${bytes / MIB} MiB`

function ticks (top) {
  const distance = step(top / MIB, 4) * MIB
  return Array.from({ length: Math.floor(top / distance) + 1 }, (_, index) => index * distance)
}

function widest (context, font, texts) {
  context.font = font
  return Math.max(...texts.map(text => context.measureText(text).width))
}

function drawGrid (context, box, x, y, seconds, top) {
  context.font = SMALL
  context.strokeStyle = color('grid')
  context.fillStyle = color('quiet')
  context.lineWidth = 1
  context.textAlign = 'right'
  context.textBaseline = 'middle'
  for (const value of ticks(top)) {
    context.beginPath()
    context.moveTo(box.left, Math.round(y(value)) + 0.5)
    context.lineTo(box.right, Math.round(y(value)) + 0.5)
    context.stroke()
    context.fillText(mib(value), box.left - PAD.gap, y(value))
  }
  context.textAlign = 'center'
  context.textBaseline = 'top'
  const distance = step(seconds, 6)
  for (let value = distance; value < seconds; value += distance) {
    context.fillText(`${value} s`, x(value), box.bottom + 6)
  }
}

function fill (context, [upper, lower], x, y) {
  context.beginPath()
  for (const [seconds, bytes] of upper.at) context.lineTo(x(seconds), y(bytes))
  for (const [seconds, bytes] of lower.at.toReversed()) context.lineTo(x(seconds), y(bytes))
  context.closePath()
  context.fillStyle = color('waiting')
  context.fill()
}

function stroke (context, line, x, y) {
  context.beginPath()
  for (const [seconds, bytes] of line.at) context.lineTo(x(seconds), y(bytes))
  context.setLineDash(line.dash ?? [])
  context.strokeStyle = color(line.color)
  context.lineWidth = 2.25
  context.lineJoin = 'round'
  context.stroke()
  context.setLineDash([])
}

/** Name the lines at their ends, the higher one above the other. */
function label (context, lines, x, y, box) {
  context.font = STRONG
  context.textAlign = 'left'
  context.textBaseline = 'middle'
  let lowest = box.bottom
  const ends = lines.toReversed().map(line => ({ line, end: line.at.at(-1) })).sort((one, other) => one.end[1] - other.end[1])
  for (const { line, end: [seconds, bytes] } of ends) {
    const place = Math.min(y(bytes), lowest)
    context.fillStyle = color(line.color)
    context.fillText(line.name, x(seconds) + PAD.gap, place)
    lowest = place - LABEL
  }
}
