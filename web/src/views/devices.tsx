/** Our devices and their switches, and those near here that wait for an owner. */

import { useState } from "preact/hooks";
import { post } from "../api";
import { t, word } from "../i18n";
import { Icon, kindIcon } from "../icons";
import { type Load, useLoad } from "../load";
import { ofDevice } from "../meaning";
import { live } from "../stream";
import { moment, us } from "../time";
import type { Device, NearDevice } from "../types";
import { community } from "../settings";
import { Card, Empty, Field, Form, Loaded, act } from "../ui";
import { percent, power, short, typed } from "../units";

const KW_DIGITS = 6;
/** A reading that is older says so. */
const OLD_US = 120_000_000;

interface ItemProps {
  device: Device;
  reload: () => Promise<void>;
}

function Switch({ device, reload }: ItemProps) {
  const [asked, ask] = useState<boolean | null>(null);
  const on = asked ?? device.switched_on ?? false;
  async function flip() {
    if (asked !== null) return;
    ask(!on);
    const done = t(on ? "devices.is_off" : "devices.is_on", { name: device.name });
    await act(() => post(`devices/${device.agent}/switch`, { on: !on }), done);
    await reload();
    ask(null);
  }
  return (
    <button
      type="button"
      class="switch"
      role="switch"
      aria-checked={on}
      aria-label={t("devices.switch", { name: device.name })}
      aria-busy={asked !== null}
      onClick={flip}
    >
      <span aria-hidden="true">{t(on ? "on" : "off")}</span>
    </button>
  );
}

/** A bound on what a device draws or gives; it does not tell which one is in force. */
function Limit({ device, reload }: ItemProps) {
  const [typedKw, type] = useState("");
  const milli_w = typed(typedKw, KW_DIGITS);
  async function tell(milli_w: number | null, done: string) {
    await act(() => post(`devices/${device.agent}/limit`, { milli_w }), done);
    await reload();
  }
  const { name } = device;
  const limited = t("devices.limited", { name, power: power(milli_w) });
  return (
    <details class="claim">
      <summary>{t("devices.limit")}</summary>
      <Form
        label={t("devices.limit_of", { name })}
        button={t("devices.limit_button")}
        submit={() => tell(milli_w, limited)}
      >
        <Field label={t("devices.at_most")} unit="kW" decimal value={typedKw} change={type} />
      </Form>
      <button type="button" onClick={() => tell(null, t("devices.unlimited", { name }))}>
        {t("devices.lift")}
      </button>
    </details>
  );
}

function DeviceItem({ device, reload, several }: ItemProps & { several: boolean }) {
  const { milli_w, means } = ofDevice(device.kind, device.power_milli_w);
  const facts = [word("kind", device.kind)];
  if (several) facts.push(device.community);
  if (device.state !== "ok") facts.push(word("state", device.state));
  if (device.visibility === "private") facts.push(t("devices.private"));
  if (device.share === "nothing") facts.push(t("devices.unshared"));
  const notes = [means];
  if (device.stored_bp !== null)
    notes.push(t("devices.stored", { percent: percent(device.stored_bp) }));
  if (device.at_us !== null && us(new Date()) - device.at_us > OLD_US)
    notes.push(moment(device.at_us));
  return (
    <li class={`device ${device.kind}`}>
      <Icon name={kindIcon(device.kind)} />
      <div>
        <h3>{device.name}</h3>
        <small class="quiet">{facts.filter(Boolean).join(" · ")}</small>
        {device.why && <small class="warn">{device.why}</small>}
      </div>
      <div class="side">
        <div class="reading">
          <strong>{power(milli_w)}</strong>
          <small class="quiet">{notes.filter(Boolean).join(" · ")}</small>
        </div>
        {device.can.includes("switch") && <Switch device={device} reload={reload} />}
      </div>
      {device.can.includes("limit") && <Limit device={device} reload={reload} />}
    </li>
  );
}

function Claim({ device, done }: { device: NearDevice; done: () => void }) {
  const [code, setCode] = useState("");
  const [name, setName] = useState(device.name);
  async function claim() {
    const body = { device: device.agent, code: code.trim(), name, community: community.value };
    if (await act(() => post("claims", body), t("devices.claimed", { name }))) done();
  }
  return (
    <Form
      label={t("devices.claim_of", { name: device.name })}
      button={t("devices.claim")}
      submit={claim}
    >
      <Field
        label={t("devices.code")}
        hint={t("devices.code_hint")}
        value={code}
        change={setCode}
      />
      <Field label={t("devices.name")} value={name} change={setName} />
    </Form>
  );
}

function NearItem({ device, done }: { device: NearDevice; done: () => void }) {
  const waits = device.state === "unowned";
  return (
    <li class={`device ${device.kind}`}>
      <Icon name={kindIcon(device.kind)} />
      <div>
        <h3>{device.name}</h3>
        <small class="quiet">
          {word("kind", device.kind)} · {word("state", device.state)} · {short(device.agent)}
        </small>
      </div>
      {waits && (
        <details class="claim">
          <summary>{t("devices.enter_code")}</summary>
          <Claim device={device} done={done} />
        </details>
      )}
    </li>
  );
}

function Inbox({
  near,
  ours,
  done,
}: {
  near: Load<NearDevice[]>;
  ours: Device[];
  done: () => void;
}) {
  const known = ours.map((each) => each.agent);
  return (
    <Card title={t("devices.inbox")}>
      <p class="quiet">{t("devices.inbox_hint")}</p>
      <Loaded load={near}>
        {(all) => {
          const found = all.filter((each) => !known.includes(each.agent));
          if (!found.length) return <Empty>{t("devices.none_near")}</Empty>;
          return (
            <ul class="devices">
              {found.map((each) => (
                <NearItem key={each.agent} device={each} done={done} />
              ))}
            </ul>
          );
        }}
      </Loaded>
    </Card>
  );
}

export function Devices() {
  const ours = useLoad<Device[]>("devices", live);
  const near = useLoad<NearDevice[]>("near");
  const communities = new Set((ours.data ?? []).map((each) => each.community));
  async function reload() {
    await Promise.all([ours.reload(), near.reload()]);
  }
  return (
    <>
      <Card title={t("devices.ours")}>
        <Loaded load={ours}>
          {(found) =>
            found.length ? (
              <ul class="devices">
                {found.map((each) => (
                  <DeviceItem
                    key={each.agent}
                    device={each}
                    reload={reload}
                    several={communities.size > 1}
                  />
                ))}
              </ul>
            ) : (
              <Empty>{t("devices.none")}</Empty>
            )
          }
        </Loaded>
      </Card>
      <Inbox near={near} ours={ours.data ?? []} done={reload} />
    </>
  );
}
