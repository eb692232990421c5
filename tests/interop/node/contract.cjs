// What every client here does: send each message, compare what comes back, close; and print one line of JSON.
'use strict'

const TEXT = '¥ 天気 \u{1f680} '
const SIZES = [0, 1, 125, 126, 65535, 65536, 2 ** 20]

function binary (size) {
  return Uint8Array.from({ length: size }, (_, index) => index % 256)
}

exports.MESSAGES = SIZES.flatMap(size => [TEXT.repeat(size / 16).padEnd(size, 'x'), binary(size)])

exports.same = (one, other) => typeof one === 'string' || typeof other === 'string'
  ? one === other
  : Buffer.compare(Buffer.from(one), Buffer.from(other)) === 0

exports.report = values => console.log(JSON.stringify(values))
