/** The house at this moment, and where today's energy went. */

import { useState } from "preact/hooks";
import { query } from "../api";
import { FlowChart, meaning } from "../charts/flow";
import { SankeyChart } from "../charts/sankey";
import { t } from "../i18n";
import { useLoad } from "../load";
import { live } from "../stream";
import { isoDay, moment, period, periodName } from "../time";
import type { Flow, SankeyData } from "../types";
import { AsTable, Card, Empty, Figure, Loaded, Pager, Table } from "../ui";
import { power } from "../units";

function Now() {
  const flow = useLoad<Flow>("flow", live);
  const at = flow.data && <small class="quiet">{moment(flow.data.at_us)}</small>;
  return (
    <Card title={t("home.now")} side={at} class="wide">
      <Loaded load={flow}>
        {(data) => (
          <>
            <Figures flow={data} />
            <FlowChart flow={data} />
            {!data.grid_measured && <p class="quiet">{t("flow.no_grid")}</p>}
            <AsTable>
              <FlowTable flow={data} />
            </AsTable>
          </>
        )}
      </Loaded>
    </Card>
  );
}

function Figures({ flow }: { flow: Flow }) {
  const shown = [
    ["home", flow.home_milli_w],
    ["solar", flow.solar_milli_w],
    ["grid", flow.grid_milli_w],
    ["battery", flow.battery_milli_w],
  ] as const;
  return (
    <dl class="figures">
      {shown
        .filter(([, milli_w]) => milli_w !== null)
        .map(([source, milli_w]) => (
          <Figure
            kind={source}
            label={t(`source.${source}`)}
            value={power(milli_w)}
            note={meaning(source, milli_w)}
          />
        ))}
    </dl>
  );
}

function FlowTable({ flow }: { flow: Flow }) {
  const sources = (["solar", "grid", "battery", "home"] as const).map((source) => {
    const milli_w = flow[`${source}_milli_w`];
    return { name: t(`source.${source}`), milli_w, means: meaning(source, milli_w) };
  });
  const devices = flow.devices.map((each) => ({
    name: each.name,
    milli_w: each.power_milli_w,
    means: "",
  }));
  return (
    <Table
      caption={t("home.now")}
      rows={[...sources, ...devices]}
      columns={[
        { head: t("name"), cell: (each) => each.name },
        { head: t("power"), number: true, cell: (each) => power(each.milli_w) },
        { head: "", cell: (each) => each.means },
      ]}
    />
  );
}

function Day() {
  const [back, setBack] = useState(0);
  const day = period("day", new Date(), back);
  const load = useLoad<SankeyData>(query("sankey", { day: isoDay(day.from) }));
  const pager = (
    <Pager
      name={back === 0 ? t("today") : periodName("day", day)}
      earlier={() => setBack(back - 1)}
      later={back < 0 ? () => setBack(back + 1) : null}
    />
  );
  return (
    <Card title={t("sankey.title")} side={pager} class="wide">
      <Loaded load={load}>
        {(data) =>
          data.links.some((each) => each.milli_wh > 0) ? (
            <SankeyChart data={data} />
          ) : (
            <Empty>{t("sankey.none")}</Empty>
          )
        }
      </Loaded>
    </Card>
  );
}

export function Home() {
  return (
    <>
      <Now />
      <Day />
    </>
  );
}
