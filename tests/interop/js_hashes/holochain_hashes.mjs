// Hashes by Holochain's own client library: cores as hex in argv, one JSON object out.

import {
  HoloHashType,
  dhtLocationFrom32,
  encodeHashToBase64,
  decodeHashFromBase64,
  getHashType,
  hashFrom32AndType,
  sliceCore32,
} from "@holochain/client";

const KINDS = {
  agent: HoloHashType.Agent,
  entry: HoloHashType.Entry,
  dna: HoloHashType.Dna,
  external: HoloHashType.External,
  warrant: HoloHashType.Warrant,
  action: HoloHashType.Action,
  op: HoloHashType.DhtOp,
};
const hex = (bytes) => Buffer.from(bytes).toString("hex");

const report = process.argv.slice(2).map((text) => {
  const core = Uint8Array.from(Buffer.from(text, "hex"));
  const hashes = {};
  for (const [kind, type] of Object.entries(KINDS)) {
    const hash = hashFrom32AndType(core, type);
    const encoded = encodeHashToBase64(hash);
    const back = decodeHashFromBase64(encoded);
    if (getHashType(back) !== type || hex(sliceCore32(back)) !== text) {
      throw new Error(`${kind} hash of ${text} does not come back`);
    }
    hashes[kind] = { hex: hex(hash), text: encoded };
  }
  return { core: text, location: hex(dhtLocationFrom32(core)), hashes };
});
console.log(JSON.stringify(report));
