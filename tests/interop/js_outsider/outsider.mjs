// An outsider from another implementation: dials a node, passes what libp2p offers to anyone,
// then tries a network's protocol without the membrane's proof.  Prints one line of JSON.
//
//   node outsider.mjs MULTIADDR PROTOCOL [STOLEN]
//
// STOLEN is the hex of a member's own opening message, overheard and played again.

// libp2p 3 wants this of Node 22; the rest of it runs on Node 20.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

const { createLibp2p } = await import('libp2p')
const { tcp } = await import('@libp2p/tcp')
const { noise } = await import('@chainsafe/libp2p-noise')
const { yamux } = await import('@chainsafe/libp2p-yamux')
const { identify } = await import('@libp2p/identify')
const { ping } = await import('@libp2p/ping')
const { multiaddr } = await import('@multiformats/multiaddr')

const PATIENCE_MS = 8000 // longer than a node waits for a hello

const [address, protocol, stolen] = process.argv.slice(2)

function frame (payload) {
  const bytes = Buffer.alloc(4 + payload.length)
  bytes.writeUInt32BE(payload.length)
  Buffer.from(payload).copy(bytes, 4)
  return bytes
}

const bogus = Buffer.from('let me in')
const attempts = {
  nothing: null,
  garbage: Buffer.from('GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n'),
  bogusHello: frame([0x92, 0x00, 0xc4, bogus.length, ...bogus]),
  requestWithoutHello: frame([0x93, 0x01, 0x01, 0xc4, 0x04, ...Buffer.from('give')])
}
if (stolen !== undefined) {
  const hello = Buffer.from(stolen, 'hex')
  const size = hello.length < 256 ? [0xc4, hello.length] : [0xc5, hello.length >> 8, hello.length & 255]
  attempts.stolenHello = frame([0x92, 0x00, ...size, ...hello])
}

async function attempt (node, bytes) {
  const received = []
  let ended = 'open'
  const stream = await node.dialProtocol(multiaddr(address), protocol)
  const read = (async () => {
    try {
      for await (const chunk of stream) received.push(Buffer.from(chunk.subarray()))
      ended = 'closed'
    } catch (error) {
      ended = 'reset'
    }
  })()
  if (bytes !== null) stream.send(bytes)
  let timer
  await Promise.race([read, new Promise((resolve) => { timer = setTimeout(resolve, PATIENCE_MS) })])
  clearTimeout(timer)
  stream.abort(new Error('done'))
  return { ended, receivedHex: Buffer.concat(received).toString('hex') }
}

const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  // Asked for below, by hand: two at once would be one too many.
  services: { identify: identify({ runOnConnectionOpen: false }), ping: ping() }
})
const connection = await node.dial(multiaddr(address))
const identified = await node.services.identify.identify(connection)
const report = {
  encryption: connection.encryption,
  multiplexer: connection.multiplexer,
  remotePeer: connection.remotePeer.toString(),
  identifiedProtocols: identified.protocols,
  pingMs: await node.services.ping.ping(multiaddr(address)),
  attempts: {}
}
for (const [name, bytes] of Object.entries(attempts)) {
  report.attempts[name] = await attempt(node, bytes)
}
report.pingAfterwardsMs = await node.services.ping.ping(multiaddr(address))
console.log(JSON.stringify(report))
await node.stop()
