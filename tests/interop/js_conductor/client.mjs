// Drives a node by Holochain's own client: node client.mjs VERSION ADMIN_URL BUNDLE
// Prints what it found as JSON; the test judges it.

const [version, adminUrl, bundle] = process.argv.slice(2);
const {
  AdminWebsocket,
  AppWebsocket,
  HolochainError,
  encodeHashToBase64,
  generateSigningKeyPair,
  getSigningCredentials,
} = await import(`client-${version}`);

const report = { version };
const origin = "ioe";

// The name and text of the error that `attempt` ends with.
const failing = async (attempt) => {
  try {
    await attempt();
  } catch (error) {
    return { name: error.name, text: error.message, typed: error instanceof HolochainError };
  }
  return null;
};
const until = async (ready, what) => {
  const end = Date.now() + 10_000;
  while (!ready()) {
    if (Date.now() > end) throw new Error(`waited too long for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

report.wrongOrigin = await failing(() =>
  AdminWebsocket.connect({ url: new URL(adminUrl), wsClientOptions: { origin: "https://evil" } }),
);
const admin = await AdminWebsocket.connect({
  url: new URL(adminUrl),
  wsClientOptions: { origin },
});

// -- an app from bundle to running
const agent = await admin.generateAgentPubKey();
const installed = await admin.installApp({
  source: { type: "path", value: bundle },
  agent_key: agent,
  installed_app_id: "first",
  network_seed: "one",
});
report.installed = installed.status;
report.agentIsOurs = encodeHashToBase64(installed.agent_pub_key) === encodeHashToBase64(agent);
report.twice = await failing(() =>
  admin.installApp({ source: { type: "path", value: bundle }, installed_app_id: "first" }),
);
report.noBundle = await failing(() =>
  admin.installApp({ source: { type: "bytes", value: new Uint8Array([1, 2, 3]) } }),
);
const enabled = await admin.enableApp({ installed_app_id: "first" });
report.enabled = enabled.status;
report.manifestRole = enabled.manifest.roles[0].name;
const cell = enabled.cell_info.foo[0].value.cell_id;
report.cells = (await admin.listCellIds()).length;
report.dnas = (await admin.listDnas()).length;
report.apps = (await admin.listApps({})).map((app) => app.installed_app_id);
const { port } = await admin.attachAppInterface({ allowed_origins: "page,ioe" });
report.doors = (await admin.listAppInterfaces()).map((door) => door.allowed_origins);

// -- the door
const url = new URL(`ws://127.0.0.1:${port}`);
const issue = (more) =>
  admin.issueAppAuthenticationToken({ installed_app_id: "first", ...more });
const connect = (token, from = origin) =>
  AppWebsocket.connect({ url, token, wsClientOptions: { origin: from } });
const once = (await issue({})).token;
const app = await connect(once);
report.usedToken = await failing(() => connect(once));
report.wrongToken = await failing(() => connect([1, 2, 3]));
report.wrongAppOrigin = await failing(async () => connect((await issue({})).token, "https://evil"));

// -- signed calls
const call = (fn_name, payload, more = {}) =>
  app.callZome({ cell_id: cell, zome_name: "foo", fn_name, payload, ...more });
report.unsigned = await failing(() => call("foo", null));
await admin.authorizeSigningCredentials(cell);
report.foo = await call("foo", null);
report.byRole = await app.callZome({ role_name: "foo", zome_name: "foo", fn_name: "bar" });
report.namedParameters = await call("echo_app_entry_def", {
  entry_index: 0,
  zome_index: 0,
  visibility: "Public",
});
const made = await call("create_an_entry", null);
report.entry = (await call("get_an_entry", made)).text;
report.noFunction = await failing(() => call("none_such", null));
report.noZome = await failing(() =>
  app.callZome({ cell_id: cell, zome_name: "none", fn_name: "foo", payload: null }),
);
report.refused = await failing(() => call("refuse", null));
report.wrongPayload = await failing(() => call("burst", "many"));
report.badSignature = await failing(() =>
  app.callZome({ bytes: new Uint8Array([128]), signature: new Uint8Array(64), cell_id: cell }),
);

// -- signals
const signals = [];
app.on("signal", (signal) => signals.push(signal));
await call("emitter", null);
await until(() => signals.length === 1, "a signal");
report.signal = signals[0].value.payload;
report.signalZome = signals[0].value.zome_name;
signals.length = 0;
const BURST = 10_000;
await call("burst", BURST);
const missed = () =>
  signals
    .filter((each) => each.type === "system")
    .reduce((sum, each) => sum + each.value.SignalsMissed.missed, 0);
const heard = () => signals.filter((each) => each.type === "app");
await until(() => heard().length + missed() === BURST, "all signals of a burst");
report.burst = { heard: heard().length, missed: missed() };
report.inOrder = heard().every(
  (each, place, all) => place === 0 || each.value.payload > all[place - 1].value.payload,
);

// -- capabilities
const before = await admin.listCapabilityGrants({
  installed_app_id: "first",
  include_revoked: false,
});
report.grants = before[0][1].map((each) => each.cap_grant.access.type);
await admin.revokeZomeCallCapability({ cell_id: cell, action_hash: before[0][1][0].action_hash });
report.revoked = await failing(() => call("foo", null));
await admin.authorizeSigningCredentials(cell, { type: "listed", value: [["foo", "foo"]] });
report.listed = await call("foo", null);
report.notListed = await failing(() => call("bar", null));
const { capSecret } = getSigningCredentials(cell);
report.secretBytes = capSecret.length;
report.noFunctions = await failing(() =>
  admin.authorizeSigningCredentials(cell, { type: "listed", value: [] }),
);
await admin.authorizeSigningCredentials(cell);

// -- clones
const clone = await app.createCloneCell({ role_name: "foo", modifiers: { network_seed: "c0" } });
report.cloneId = clone.clone_id;
await admin.authorizeSigningCredentials(clone.cell_id);
await app.appInfo();
report.inClone = await app.callZome({ role_name: "foo.0", zome_name: "foo", fn_name: "foo" });
report.sameClone = await failing(() =>
  app.createCloneCell({ role_name: "foo", modifiers: { network_seed: "c0" } }),
);
await app.createCloneCell({ role_name: "foo", modifiers: { network_seed: "c1" } });
report.tooManyClones = await failing(() =>
  app.createCloneCell({ role_name: "foo", modifiers: { network_seed: "c2" } }),
);
const byHash = { clone_cell_id: { type: "dna_hash", value: clone.cell_id[0] } };
report.deleteRunning = await failing(() => admin.deleteCloneCell({ app_id: "first", ...byHash }));
await app.disableCloneCell(byHash);
report.disabledClone = await failing(() =>
  app.callZome({ cell_id: clone.cell_id, zome_name: "foo", fn_name: "foo" }),
);
report.enabledAgain = (
  await app.enableCloneCell({ clone_cell_id: { type: "clone_id", value: "foo.0" } })
).enabled;
await app.disableCloneCell(byHash);
await admin.deleteCloneCell({ app_id: "first", ...byHash });
report.deletedClone = await failing(() => app.enableCloneCell(byHash));

// -- looks inside
const [dump, summary] = await admin.dumpState({ cell_id: cell });
report.dump = {
  first: dump.source_chain_dump.records[0].action.data.type,
  summary: typeof summary,
};
const full = await admin.dumpFullState({ cell_id: cell });
report.fullDump = full.integration_dump.integrated.every((op) => "ChainOp" in op);
report.storage = (await admin.storageInfo()).blobs[0].value.used_by;
report.dnaZomes = (await admin.getDnaDefinition(cell)).coordinator_zomes.map(([name]) => name);
report.backend = (await admin.dumpNetworkStats()).transport_stats.backend;
const metrics = await admin.dumpNetworkMetrics({ include_dht_summary: true });
report.metrics = Object.keys(metrics).includes(encodeHashToBase64(cell[0]));
const infos = await app.agentInfo({ dna_hashes: [cell[0]] });
report.infos = infos.map((text) => typeof JSON.parse(JSON.parse(text).agentInfo).url);
await admin.addAgentInfo({ agent_infos: infos });
report.foreignInfo = await failing(() => admin.addAgentInfo({ agent_infos: ["{}"] }));
report.coordinators = await failing(() =>
  admin.updateCoordinators({ cell_id: cell, source: { type: "path", value: "x" } }),
);
report.session = await app.getCountersigningSessionState(cell);
report.noSession = await failing(() => app.abandonCountersigningSession(cell));

// -- again and away
const lasting = await connect((await issue({ single_use: false, expiry_seconds: 0 })).token);
await lasting.client.close();
report.reconnected = (await lasting.appInfo()).status;
await admin.disableApp({ installed_app_id: "first" });
report.disabled = (await app.appInfo()).status;
report.whileDisabled = await failing(() => call("foo", null));
await admin.uninstallApp({ installed_app_id: "first" });
report.goneInfo = await failing(() => app.appInfo());
report.left = (await admin.listApps({})).length;
await generateSigningKeyPair(agent);

console.log(JSON.stringify(report));
process.exit(0);
