/** Apps beside our devices: what each did, and its settings, whose form is made from its schema. */

import { useState } from "preact/hooks";
import { post } from "../api";
import { t, word } from "../i18n";
import { useLoad } from "../load";
import { live } from "../stream";
import { moment } from "../time";
import type { App, Decision, SettingSchema } from "../types";
import { Card, Empty, Field, Form, Loaded, Select, act } from "../ui";
import { credits, energy, readable } from "../units";

type Values = Record<string, unknown>;

/** Our words for what we know of, in the reader's language; the app's own for the rest. */
function said(group: string, name: string, own: string | undefined): string {
  const found = word(group, name);
  return found === name ? (own ?? "") : found;
}

function Setting(props: {
  name: string;
  schema: SettingSchema;
  value: unknown;
  change: (value: unknown) => void;
}) {
  const { name, schema, value, change } = props;
  const label = said("setting", name, schema.title) || name;
  if (schema.type === "boolean") {
    return (
      <label class="tick">
        <input
          type="checkbox"
          checked={value === true}
          onChange={(event) => change(event.currentTarget.checked)}
        />
        {label}
      </label>
    );
  }
  if (schema.enum) {
    const options = schema.enum.map((each) => ({ value: String(each), text: String(each) }));
    return (
      <Select
        label={label}
        value={String(value ?? "")}
        options={options}
        choose={(text) => change(schema.enum?.find((each) => String(each) === text))}
      />
    );
  }
  const number = schema.type === "integer" || schema.type === "number";
  const { minimum: min, maximum: max } = schema;
  const bounds = min != null && max != null ? t("apps.bounds", { min, max }) : "";
  return (
    <Field
      label={label}
      type={number ? "number" : "text"}
      min={min}
      max={max}
      value={String(value ?? "")}
      change={(text) => change(number && text !== "" ? Number(text) : text)}
      hint={`${said("help", name, schema.description)} ${bounds}`.trim()}
    />
  );
}

/** What was changed here goes before what the device tells, which may not live by it yet. */
function Settings({ app, saved }: { app: App; saved: () => void }) {
  const [typed, set] = useState<Values>({});
  async function save() {
    const body = { settings: typed, device: app.device };
    async function send() {
      if (Object.keys(typed).length) await post(`apps/${app.name}/settings`, body);
    }
    if (await act(send, t("apps.saved"))) saved();
  }
  const fields = Object.entries(app.schema.properties ?? {});
  if (!fields.length) return <Empty>{t("apps.no_settings")}</Empty>;
  return (
    <Form
      label={t("apps.settings_of", { name: app.device_name })}
      button={t("apps.save")}
      submit={save}
    >
      {fields.map(([name, schema]) => (
        <Setting
          key={name}
          name={name}
          schema={schema}
          value={(name in typed ? typed : app.settings)[name]}
          change={(value) => set({ ...typed, [name]: value })}
        />
      ))}
    </Form>
  );
}

function DecisionItem({ made }: { made: Decision }) {
  const facts: string[] = [];
  if (made.micro_per_kwh !== null)
    facts.push(t("apps.price", { price: credits(made.micro_per_kwh) }));
  if (made.threshold_micro !== null)
    facts.push(t("apps.threshold", { price: credits(made.threshold_micro) }));
  if (made.saved_milli_wh !== null)
    facts.push(t("apps.spared", { energy: energy(made.saved_milli_wh) }));
  if (made.earns_micro !== null)
    facts.push(t("apps.earns", { credits: credits(made.earns_micro) }));
  return (
    <li class={made.what === "failed" ? "grave" : ""}>
      <strong>{word("did", made.what)}</strong>
      <time dateTime={new Date(made.at_us / 1000).toISOString()}>{moment(made.at_us)}</time>
      <p>{readable(made.why)}</p>
      {facts.length > 0 && <p class="quiet">{facts.join(" · ")}</p>}
    </li>
  );
}

function AppCard({ app, reload }: { app: App; reload: () => void }) {
  if (app.name === null)
    return (
      <Card title={app.device_name}>
        <p class="warn">{readable(app.why)}</p>
      </Card>
    );
  const earned = app.decisions.reduce((sum, each) => sum + (each.earns_micro ?? 0), 0);
  return (
    <Card title={`${app.device_name}: ${word("app", app.name)}`}>
      {app.why && <p class="warn">{readable(app.why)}</p>}
      <h3>{t("apps.decisions")}</h3>
      {earned > 0 && <p>{t("apps.earned", { credits: credits(earned) })}</p>}
      {app.decisions.length ? (
        <ol class="alerts">
          {app.decisions.map((each) => (
            <DecisionItem made={each} />
          ))}
        </ol>
      ) : (
        <Empty>{t("apps.no_decisions")}</Empty>
      )}
      <h3>{t("apps.settings")}</h3>
      <Settings app={app} saved={reload} />
    </Card>
  );
}

export function Apps() {
  const load = useLoad<App[]>("apps", live);
  if (load.data?.length)
    return load.data.map((each) => (
      <AppCard key={`${each.device} ${each.name}`} app={each} reload={load.reload} />
    ));
  return (
    <Card title={t("view.apps")} class="wide">
      <Loaded load={load}>{() => <Empty>{t("apps.none")}</Empty>}</Loaded>
    </Card>
  );
}
