/** Installed apps: what each decided last, and its settings, whose form is made from its schema. */

import { useState } from "preact/hooks";
import { post } from "../api";
import { t } from "../i18n";
import { useLoad } from "../load";
import { moment } from "../time";
import type { App, SettingSchema } from "../types";
import { Card, Empty, Field, Form, Loaded, Select, act } from "../ui";

type Values = Record<string, unknown>;

function Setting(props: {
  name: string;
  schema: SettingSchema;
  value: unknown;
  change: (value: unknown) => void;
}) {
  const { schema, value, change } = props;
  const label = schema.title ?? props.name;
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
  return (
    <Field
      label={label}
      type={number ? "number" : "text"}
      value={String(value ?? "")}
      change={(text) => change(number && text !== "" ? Number(text) : text)}
      {...(schema.description ? { hint: schema.description } : {})}
    />
  );
}

function Settings({ app, saved }: { app: App; saved: () => void }) {
  const [values, set] = useState<Values>(app.settings);
  async function save() {
    if (await act(() => post(`apps/${app.name}/settings`, values), t("apps.saved"))) saved();
  }
  const fields = Object.entries(app.schema.properties ?? {});
  if (!fields.length) return <Empty>{t("apps.no_settings")}</Empty>;
  return (
    <Form label={t("apps.settings_of", { name: app.name })} button={t("apps.save")} submit={save}>
      {fields.map(([name, schema]) => (
        <Setting
          key={name}
          name={name}
          schema={schema}
          value={values[name]}
          change={(value) => set({ ...values, [name]: value })}
        />
      ))}
    </Form>
  );
}

function AppCard({ app, reload }: { app: App; reload: () => void }) {
  return (
    <Card title={app.title ?? app.name}>
      {app.description && <p class="quiet">{app.description}</p>}
      <h3>{t("apps.decisions")}</h3>
      {app.decisions.length ? (
        <ol class="alerts">
          {app.decisions.map((each) => (
            <li>
              <time>{moment(each.at_us)}</time>
              <p>{each.text}</p>
            </li>
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
  const load = useLoad<App[]>("apps");
  if (load.data?.length)
    return load.data.map((each) => <AppCard key={each.name} app={each} reload={load.reload} />);
  const none = load.error?.status === 404;
  return (
    <Card title={t("view.apps")} class="wide">
      {none ? (
        <Empty>{t("apps.none")}</Empty>
      ) : (
        <Loaded load={load}>{() => <Empty>{t("apps.none")}</Empty>}</Loaded>
      )}
    </Card>
  );
}
