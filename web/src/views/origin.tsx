/** Where the imported energy came from and what it weighs in carbon dioxide. */

import { query } from "../api";
import { t } from "../i18n";
import { useLoad } from "../load";
import { useSpan } from "../span";
import { us } from "../time";
import type { Carbon } from "../types";
import { Card, Empty, Figure, Loaded, Table } from "../ui";
import { carbon, energy, kwh, percent } from "../units";

const MILLI_WH_PER_KWH = 1_000_000;

function perKwh(data: Carbon): string | null {
  if (data.g_co2 === null || !data.import_milli_wh) return null;
  return `${carbon(Math.round((data.g_co2 * MILLI_WH_PER_KWH) / data.import_milli_wh))}/kWh`;
}

function Figures({ data }: { data: Carbon }) {
  return (
    <dl class="figures">
      <Figure kind="import" label={t("history.import")} value={energy(data.import_milli_wh)} />
      <Figure label={t("origin.co2")} value={carbon(data.g_co2)} note={perKwh(data)} />
      <Figure
        kind="solar"
        label={t("origin.clean")}
        value={percent(data.clean_bp)}
        note={t("origin.clean_note")}
      />
    </dl>
  );
}

export function Origin() {
  const { shown, controls } = useSpan("month");
  const load = useLoad<Carbon>(query("carbon", { from_us: us(shown.from), to_us: us(shown.to) }));
  return (
    <Card title={t("view.origin")} class="wide">
      <div class="controls">{controls}</div>
      <Loaded load={load}>
        {(data) => (
          <>
            <Figures data={data} />
            {data.g_co2 === null && <p class="note">{t("origin.unknown")}</p>}
            {data.by_source.length ? (
              <Sources data={data} />
            ) : (
              <Empty>{t("origin.no_sources")}</Empty>
            )}
          </>
        )}
      </Loaded>
    </Card>
  );
}

function Sources({ data }: { data: Carbon }) {
  const whole = Math.max(
    1,
    data.by_source.reduce((sum, each) => sum + each.milli_wh, 0),
  );
  return (
    <Table
      caption={t("origin.by_source")}
      rows={data.by_source}
      columns={[
        { head: t("origin.source"), cell: (each) => each.name },
        { head: "kWh", number: true, cell: (each) => kwh(each.milli_wh) },
        {
          head: t("origin.share"),
          cell: (each) => (
            <meter
              min={0}
              max={whole}
              value={each.milli_wh}
              aria-label={percent((each.milli_wh * 10_000) / whole)}
            />
          ),
        },
        { head: "CO₂", number: true, cell: (each) => carbon(each.g_co2) },
      ]}
    />
  );
}
