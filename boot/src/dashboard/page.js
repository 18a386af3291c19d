// The dashboard's page. It is sent a snapshot, then what changes; where the line breaks, it asks again until it is sent another snapshot.
// Nothing that a machine or its senders say is ever taken for markup: it goes into the page as text.
'use strict'

const $ = id => document.getElementById(id)
const set = (id, text) => { const at = $(id); if (at.textContent !== text) at.textContent = text }

const WINDOWS_S = [60, 120, 300]
const ROWS_MAX = 400
const RETRY_MS = 500

// What is known. `ahead` is by how much the dashboard's clock is ahead of this page's.
let head = null, maps = [], seconds = [], recent = null, requests = [], ahead = 0, lastSeq = -1, shownS = WINDOWS_S[0]

// ---- words

const whole = number => Math.round(number).toLocaleString('en')
const few = number => number >= 100 ? whole(number) : number.toFixed(number >= 10 ? 1 : 2).replace(/\.?0+$/, '')

function span(ns) {
  if (ns === null || ns === undefined) return '-'
  if (ns < 1e3) return `${Math.round(ns)} ns`
  if (ns < 1e6) return `${few(ns / 1e3)} µs`
  if (ns < 1e9) return `${few(ns / 1e6)} ms`
  return `${few(ns / 1e9)} s`
}

function bytes(number) {
  if (number < 1024) return `${whole(number)} B`
  if (number < 1 << 20) return `${few(number / 1024)} KiB`
  return number < 2 ** 30 ? `${few(number / (1 << 20))} MiB` : `${few(number / 2 ** 30)} GiB`
}

function age(ms) {
  const s = Math.max(0, ms) / 1000
  if (s < 10) return `${s.toFixed(1)} s`
  if (s < 120) return `${Math.floor(s)} s`
  if (s < 7200) return `${Math.floor(s / 60)} min`
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`
}

const pad = (number, digits = 2) => String(number).padStart(digits, '0')
function clock(ns) {
  const at = new Date(ns / 1e6)
  return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`
}
const short = root => root.slice(4, 12)

// ---- the head

function showHead() {
  if (!head) return
  set('seq', whole(Math.max(0, head.end - 1)))
  set('root', head.root_short)
  $('root').title = head.root
  const made = head.checkpoint.time_ns
  set('checkpoint', `seq ${whole(Math.max(0, head.checkpoint.end - 1))}` + (made ? `, ${age(Date.now() - made / 1e6)} ago` : ''))
  $('checkpoint').title = head.checkpoint.root
  set('memory', bytes(head.memory_bytes))
  set('program', head.code_short)
  $('program').title = head.code
  set('branch', head.branch)
  set('machine', head.machine.slice(0, 16))
  $('machine').title = `machine ${head.machine}, incarnation ${head.incarnation}, epoch ${head.epoch}`
  set('engine', head.engine)
  set('open-requests', whole(head.open_requests))
  set('owed-replies', whole(head.owed_replies))
  set('undelivered-effects', whole(head.undelivered_effects))
  set('used-pages', whole(head.used_pages))
  set('all-pages', whole(head.memory_bytes / 4096))
  document.title = `${$('name').textContent} · seq ${whole(Math.max(0, head.end - 1))}`
}

// ---- the log

const scroll = $('scroll')
let following = true
scroll.addEventListener('scroll', () => {
  following = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 24
  $('follow').hidden = following
})
$('follow').addEventListener('click', () => { scroll.scrollTop = scroll.scrollHeight })

function cell(row, text, title) {
  const at = row.insertCell()
  at.textContent = text
  if (title) at.title = title
  return at
}

function row(record) {
  const at = document.createElement('tr')
  at.dataset.seq = record.seq
  at.classList.add(record.kind)
  if (record.kind === 'settle') at.classList.add('quiet')
  cell(at, record.seq)
  cell(at, clock(record.time_ns), new Date(record.time_ns / 1e6).toISOString())
  cell(at, record.kind)
  const port = cell(at, record.port || '')
  if (record.from) {
    const from = document.createElement('em')
    from.textContent = ` ${record.from}`
    port.append(from)
  }
  port.title = port.textContent
  const words = { answer: record.more ? 'part of an answer ' : 'answer ', broken: 'broken ' }[record.what]
  const what = cell(at, '')
  if (words) {
    const said = document.createElement('em')
    said.textContent = words
    what.append(said)
  }
  what.append(record.reason ? `${record.reason}, on ${record.text}` : record.text || '')
  what.title = (record.request ? `to request ${record.request}: ` : '') + what.textContent
  cell(at, record.cost_ns === undefined ? '' : span(record.cost_ns))
  cell(at, record.root ? (record.checkpoint ? '◆ ' : '') + short(record.root) : '', record.root)
  if (record.root) at.classList.add('end')
  if (record.checkpoint) at.classList.add('checkpoint')
  return at
}

function showLog(records) {
  if (!records.length) return
  const rows = document.createDocumentFragment()
  for (const record of records) {
    if (record.seq <= lastSeq) continue
    if (lastSeq >= 0 && record.seq > lastSeq + 1) {
      const gap = document.createElement('tr')
      gap.className = 'gap'
      const count = record.seq - lastSeq - 1
      cell(gap, `${whole(count)} more ${count === 1 ? 'record' : 'records'}`).colSpan = 7
      rows.append(gap)
    }
    rows.append(row(record))
    lastSeq = record.seq
  }
  const log = $('log')
  log.append(rows)
  while (log.rows.length > ROWS_MAX) log.deleteRow(0)
  if (following) scroll.scrollTop = scroll.scrollHeight
}

// ---- what is open

function showRequests() {
  const body = $('requests')
  body.replaceChildren(...requests.map(request => {
    const at = document.createElement('tr')
    cell(at, request.request, request.request)
    cell(at, request.port, request.port)
    cell(at, request.text, request.text)
    cell(at, '').dataset.since = request.since_ns === null ? '' : request.since_ns
    return at
  }))
  const rest = head ? head.open_requests - requests.length : 0
  if (rest > 0 || !requests.length) {
    const at = body.insertRow()
    at.className = 'none'
    cell(at, rest > 0 ? `and ${whole(rest)} more` : 'it waits for nothing but messages').colSpan = 4
  }
  showAges()
}

function showAges() {
  for (const at of $('requests').querySelectorAll('td[data-since]')) {
    const since = at.dataset.since
    const text = since === '' ? 'before' : age(Date.now() - Number(since) / 1e6)
    if (at.textContent !== text) at.textContent = text
    at.title = since === '' ? 'it was open before the machine was started' : ''
  }
}

// ---- drawing

const styles = getComputedStyle(document.documentElement)
const colour = name => styles.getPropertyValue(`--${name}`).trim()

function canvas(id) {
  const at = $(id), ratio = window.devicePixelRatio || 1
  const [wide, high] = [at.clientWidth, at.clientHeight]
  if (at.width !== Math.round(wide * ratio) || at.height !== Math.round(high * ratio)) {
    at.width = Math.round(wide * ratio)
    at.height = Math.round(high * ratio)
  }
  const draw = at.getContext('2d')
  draw.setTransform(ratio, 0, 0, ratio, 0, 0)
  draw.clearRect(0, 0, wide, high)
  draw.font = '10.5px system-ui, sans-serif'
  draw.lineWidth = 1
  return { draw, wide, high }
}

const nowMs = () => performance.now() + ahead
// Under a chart, its scale of time.
const FOOT = 14

function axis({ draw, wide, high }) {
  draw.fillStyle = colour('faint')
  draw.textBaseline = 'alphabetic'
  draw.textAlign = 'left'
  draw.fillText(shownS < 120 ? `${shownS} s ago` : `${shownS / 60} min ago`, 0, high - 2)
  draw.textAlign = 'right'
  draw.fillText('now', wide, high - 2)
  draw.fillStyle = colour('line')
  draw.fillRect(0, high - FOOT, wide, 1)
}

const place = (at, wide) => wide - ((nowMs() / 1000 - at) / shownS) * wide

// How wide a second's bar is: with a gap to the next where there is room for one.
const bar = step => step > 3 ? step - 1 : step + .2

function roundUp(number) {
  const unit = 10 ** Math.floor(Math.log10(number))
  return [1, 2, 5, 10].map(times => times * unit).find(step => step >= number)
}

function drawRate() {
  const area = canvas('rate'), { draw, wide, high } = area
  const bottom = high - FOOT
  const most = roundUp(Math.max(10, ...seconds.map(second => second.steps + second.aborts), ...seconds.map(second => second.commits)))
  axis(area)
  draw.fillStyle = colour('faint')
  draw.fillText(`${whole(most)}/s`, wide, 9)
  const step = wide / shownS
  const top = count => bottom - (count / most) * (bottom - 12)
  draw.fillStyle = colour('accent')
  for (const second of seconds) {
    const y = top(second.steps + second.aborts)
    draw.fillRect(place(second.at + 1, wide), y, bar(step), bottom - y)
  }
  draw.fillStyle = colour('second')
  for (const second of seconds) draw.fillRect(place(second.at + 1, wide), top(second.commits) - 1, Math.max(step, 1.6), 1.6)
}

function drawLatency() {
  const area = canvas('latency'), { draw, wide, high } = area
  const bottom = high - FOOT
  axis(area)
  const known = seconds.filter(second => second.commit_ns)
  const least = Math.floor(Math.log10(Math.min(1e5, ...known.map(second => second.commit_ns[0]))))
  const most = Math.ceil(Math.log10(Math.max(1e7, ...known.map(second => second.commit_ns[2]))))
  const top = ns => bottom - ((Math.log10(Math.max(ns, 1)) - least) / (most - least)) * (bottom - 12)
  for (let decade = least + 1; decade <= most; decade++) {
    draw.fillStyle = colour('line')
    draw.fillRect(0, Math.round(top(10 ** decade)), wide, 1)
  }
  const step = bar(wide / shownS)
  for (const second of known) {
    const [half, ninetyNine] = second.commit_ns
    const x = place(second.at + 1, wide)
    draw.globalAlpha = .3
    draw.fillStyle = colour('accent')
    draw.fillRect(x, top(ninetyNine), step, Math.max(1, top(half) - top(ninetyNine)))
    draw.globalAlpha = 1
    draw.fillRect(x, top(half) - 1, step, 2)
    draw.fillStyle = colour('second')
    draw.fillRect(x, top(ninetyNine) - 1, step, 1.6)
  }
  // Over whatever is there.
  draw.textAlign = 'left'
  draw.strokeStyle = colour('panel')
  draw.lineWidth = 3
  for (let decade = least + 1; decade <= most; decade++) {
    const y = top(10 ** decade) - 3
    draw.strokeText(span(10 ** decade), 0, y)
    draw.fillStyle = colour('faint')
    draw.fillText(span(10 ** decade), 0, y)
  }
}

function drawCost() {
  const area = canvas('cost'), { draw, wide, high } = area
  const bottom = high - FOOT
  const bins = recent ? recent.step_bins.filter(bin => bin[2] > 0) : []
  draw.fillStyle = colour('line')
  draw.fillRect(0, bottom, wide, 1)
  if (!bins.length) {
    draw.fillStyle = colour('faint')
    draw.textAlign = 'center'
    draw.fillText('no steps in the last minute', wide / 2, bottom / 2)
    return
  }
  const least = Math.floor(Math.log10(Math.max(Math.min(...bins.map(bin => bin[0])), 256)))
  const most = Math.max(least + 2, Math.ceil(Math.log10(Math.max(...bins.map(bin => bin[1])))))
  const x = ns => ((Math.log10(Math.max(ns, 10 ** least)) - least) / (most - least)) * wide
  draw.textBaseline = 'alphabetic'
  for (let decade = least; decade <= most; decade++) {
    draw.fillStyle = colour('faint')
    draw.textAlign = decade === least ? 'left' : decade === most ? 'right' : 'center'
    draw.fillText(span(10 ** decade), x(10 ** decade), high - 2)
    draw.fillStyle = colour('line')
    draw.fillRect(Math.min(Math.round(x(10 ** decade)), wide - 1), 10, 1, bottom - 10)
  }
  const tallest = Math.max(...bins.map(bin => bin[2]))
  draw.fillStyle = colour('accent')
  for (const [from, to, count] of bins) {
    const high = Math.max(1.5, (count / tallest) * (bottom - 14))
    draw.fillRect(x(from), bottom - high, Math.max(1, x(to) - x(from) - 1), high)
  }
  draw.strokeStyle = colour('panel')
  draw.lineWidth = 3
  draw.fillStyle = colour('second')
  for (const [ns, name] of [[recent.step_ns[0], 'p50'], [recent.step_ns[1], 'p99']]) {
    draw.fillRect(x(ns), 10, 1, bottom - 10)
    const isLate = x(ns) > wide - 30, at = x(ns) + (isLate ? -4 : 4), y = name === 'p50' ? 18 : 31
    draw.textAlign = isLate ? 'right' : 'left'
    draw.strokeText(name, at, y)
    draw.fillText(name, at, y)
  }
}

// The map: cells from left to right, then down, one memory after the other; as large as there is room for.
let laid = { columns: 1, size: 1, tops: [] }, isPointed = false

function mixed(from, to, part) {
  const parts = text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16))
  const [a, b] = [parts(from), parts(to)]
  return `rgb(${a.map((value, at) => Math.round(value + (b[at] - value) * part)).join()})`
}

function drawMap() {
  const { draw, wide, high } = canvas('map')
  const counts = maps.map(map => map.used.length)
  const rows = (size) => counts.reduce((sum, count) => sum + Math.ceil(count / Math.max(1, Math.floor(wide / size))), 0)
  let size = 18
  while (size > 2 && rows(size) * size + (maps.length - 1) * 6 > high) size -= size > 6 ? 1 : .25
  const columns = Math.max(1, Math.floor(wide / size))
  const gap = size >= 5 ? 1 : size >= 3.5 ? .5 : 0
  const [zero, used, h0, h1, h2] = ['zero', 'used', 'h0', 'h1', 'h2'].map(colour)
  const now = nowMs()
  const heat = at => {
    const s = (now - at) / 1000
    if (s < 1) return h0
    if (s < 10) return mixed(h0, h1, (s - 1) / 9)
    if (s < 60) return mixed(h1, h2, (s - 10) / 50)
    return s < 300 ? mixed(h2, used, (s - 60) / 240) : used
  }
  laid = { columns, size, tops: [] }
  if (!isPointed) set('spot', maps.length && maps[0].cell_pages > 1 ? `☐ ${maps[0].cell_pages} pages` : '')
  let top = 0
  maps.forEach((map, number) => {
    laid.tops.push(top)
    map.used.forEach((count, index) => {
      const at = map.at[index]
      draw.fillStyle = at !== null ? heat(at) : count ? used : zero
      draw.fillRect((index % columns) * size, top + Math.floor(index / columns) * size, size - gap, size - gap)
    })
    top += Math.ceil(counts[number] / columns) * size + 6
  })
}

function point(is) {
  isPointed = is
  $('legend').classList.toggle('pointed', is)
}
$('map').addEventListener('mousemove', event => {
  point(true)
  const memory = laid.tops.findLastIndex(top => top <= event.offsetY)
  const map = maps[memory]
  const column = Math.floor(event.offsetX / laid.size)
  const index = map && Math.floor((event.offsetY - laid.tops[memory]) / laid.size) * laid.columns + column
  if (!map || column >= laid.columns || !(index < map.used.length)) return set('spot', '')
  const first = index * map.cell_pages, last = Math.min(map.pages, first + map.cell_pages) - 1
  const pages = first === last ? `page ${first}` : `pages ${first}–${last}, ${map.used[index]} in use`
  const at = map.at[index]
  set('spot', at === null ? pages : `${pages}, ${age(nowMs() - at)} ago`)
})
$('map').addEventListener('mouseleave', () => {
  point(false)
  due()
})

// ---- figures

function showFigures() {
  const now = nowMs() / 1000
  // Of the last seconds that are over.
  const last = seconds.filter(second => second.at < Math.floor(now) && second.at >= Math.floor(now) - 3)
  const rate = of => last.reduce((sum, second) => sum + of(second), 0) / 3
  set('steps-rate', few(rate(second => second.steps + second.aborts)))
  set('commits-rate', few(rate(second => second.commits)))
  if (!recent) return
  const times = (name, parts, ns) => parts.forEach((part, at) => set(`${name}-${part}`, span(ns ? ns[at] : null)))
  times('commit', ['half', 'most'], recent.commit_ns)
  times('step', ['half', 'most', 'max'], recent.step_ns)
  const each = sum => recent.commits ? sum / recent.commits : null
  for (const [id, sum, words] of [['batch-records', recent.records, few], ['batch-pages', recent.pages, few], ['batch-bytes', recent.bytes, bytes]]) {
    set(id, recent.commits ? words(each(sum)) : '-')
  }
  set('busy', `${few(recent.cost_ns / 1e9 / Math.min(recent.seconds, Math.max(1, now)) * 100)}%`)
}

let isDue = false
function draw() {
  isDue = false
  // As long as there is something to show.
  shownS = WINDOWS_S.find(span => span >= nowMs() / 1000) || WINDOWS_S.at(-1)
  for (const one of [showHead, showFigures, drawRate, drawLatency, drawCost, drawMap, showAges]) one()
}
function due() {
  if (!isDue) {
    isDue = true
    requestAnimationFrame(draw)
  }
}
new ResizeObserver(due).observe(document.body)
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', due)

// ---- what is told

const received = map => ({ ...map, at: map.age_ms.map(ms => ms === null ? null : nowMs() - ms) })

function take(said) {
  ahead = said.now_ms - performance.now()
  head = said.head
  if (said.maps) maps = said.maps.map(received)
  if (said.cells) {
    said.cells.forEach((cells, memory) => {
      for (const [index, used, ms] of cells) {
        maps[memory].used[index] = used
        maps[memory].at[index] = nowMs() - ms
      }
    })
  }
  const first = said.seconds.length ? said.seconds[0].at : Infinity
  const since = said.now_ms / 1000 - WINDOWS_S.at(-1) - 1
  seconds = seconds.filter(second => second.at < first && second.at >= since).concat(said.seconds)
  recent = said.recent
  showLog(said.log)
  if (said.requests) {
    requests = said.requests
    showRequests()
  }
  state(head ? 'live' : 'starting')
  due()
}

function state(name) {
  const words = { live: 'live', starting: 'starting', away: 'not running: reconnecting' }
  set('state', words[name])
  $('state').dataset.state = name
  document.body.classList.toggle('away', name === 'away')
}

function listen() {
  const source = new EventSource('/events')
  source.addEventListener('snapshot', event => {
    const said = JSON.parse(event.data)
    set('name', said.name)
    seconds = []
    lastSeq = -1
    $('log').replaceChildren()
    take(said)
  })
  source.addEventListener('change', event => take(JSON.parse(event.data)))
  source.onerror = () => {
    source.close()
    state('away')
    setTimeout(listen, RETRY_MS)
  }
}
listen()
