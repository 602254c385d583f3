// What a page of the owner's does: node page.mjs VERSION GIVEN
// GIVEN is what 'ioe app token --sign' printed.  Prints what a zome call returned, as JSON.

const [version, given] = process.argv.slice(2);
const { AppWebsocket, setSigningCredentials } = await import(`client-${version}`);

const { port, token, credentials } = JSON.parse(given);
const app = await AppWebsocket.connect({
  url: new URL(`ws://127.0.0.1:${port}`),
  token,
  wsClientOptions: { origin: "ioe" },
});
const bytes = (listed) => Uint8Array.from(listed);
for (const { cell_id, capSecret, signingKey, keyPair } of credentials) {
  setSigningCredentials(cell_id.map(bytes), {
    capSecret: bytes(capSecret),
    signingKey: bytes(signingKey),
    keyPair: {
      ...keyPair,
      publicKey: bytes(keyPair.publicKey),
      privateKey: bytes(keyPair.privateKey),
    },
  });
}
const info = await app.appInfo();
const [role_name] = Object.keys(info.cell_info);
const portfolio = await app.callZome({ role_name, zome_name: "identity", fn_name: "portfolio" });
console.log(JSON.stringify({ app: info.installed_app_id, role_name, portfolio }));
process.exit(0);
