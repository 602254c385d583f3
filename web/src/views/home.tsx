/** The house at this moment, and where today's energy went. */

import { useState } from "preact/hooks";
import { query } from "../api";
import { FlowChart } from "../charts/flow";
import { SankeyChart } from "../charts/sankey";
import { t } from "../i18n";
import { useLoad } from "../load";
import { meaning, ofDevice } from "../meaning";
import { live } from "../stream";
import { isoDay, moment, period, periodName } from "../time";
import type { Flow, SankeyData } from "../types";
import { AsTable, Card, Empty, Figure, Loaded, Pager, Table } from "../ui";
import { energy, percent, power } from "../units";

const USERS = ["consumer", "rest"];
const OTHERS = ["monitor", "unmeasured"];

function Now() {
  const flow = useLoad<Flow>("flow", live);
  const at = flow.data && <small class="quiet">{moment(flow.data.at_us)}</small>;
  return (
    <Card title={t("home.now")} side={at} class="wide">
      <Loaded load={flow}>
        {(data) => (
          <>
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

function FlowTable({ flow }: { flow: Flow }) {
  const sources = (["solar", "grid", "battery", "home"] as const).map((source) => {
    const milli_w = flow[`${source}_milli_w`];
    return { name: t(`source.${source}`), milli_w, means: meaning(source, milli_w) };
  });
  const devices = flow.devices.map((each) => ({
    name: each.name,
    ...ofDevice(each.kind, each.power_milli_w),
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

/** Sums of the day; what was used is the household's own where no grid, and no unknown source, gave it. */
function DayFigures({ data }: { data: SankeyData }) {
  const kinds = new Map(data.nodes.map((each) => [each.id, each.kind]));
  const sum = (sources: string[] | null, targets: string[] | null) =>
    data.links
      .filter((each) => !sources || sources.includes(kinds.get(each.source) ?? ""))
      .filter((each) => !targets || targets.includes(kinds.get(each.target) ?? ""))
      .reduce((total, each) => total + each.milli_wh, 0);
  const used = sum(null, USERS);
  const own_bp = used ? 10_000 - Math.round((sum(OTHERS, USERS) * 10_000) / used) : null;
  return (
    <dl class="figures">
      <Figure kind="home" label={t("day.used")} value={energy(used)} />
      <Figure kind="solar" label={t("day.made")} value={energy(sum(["generator"], null))} />
      <Figure kind="import" label={t("history.import")} value={energy(sum(["monitor"], null))} />
      <Figure kind="export" label={t("history.export")} value={energy(sum(null, ["monitor"]))} />
      <Figure kind="main" label={t("day.own")} value={percent(own_bp)} />
    </dl>
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
            <>
              <DayFigures data={data} />
              <SankeyChart data={data} />
            </>
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
