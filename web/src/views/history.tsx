/** Energy by day, week, month and year, beside the period before, and as a file. */

import { useMemo, useState } from "preact/hooks";
import { download, query } from "../api";
import { type Bar, BarChart } from "../charts/bars";
import { t } from "../i18n";
import { useLoad } from "../load";
import { useSpan } from "../span";
import {
  STEP_OF,
  type Period,
  type Span,
  isoDay,
  periodName,
  stepName,
  steps,
  us,
} from "../time";
import type { Device, History as Data, Point } from "../types";
import { AsTable, Card, Empty, Figure, Loaded, Select, Table, act } from "../ui";
import { energy, kwh } from "../units";

interface Total {
  import_milli_wh: number;
  export_milli_wh: number;
  estimated: boolean;
}

function total(points: Point[]): Total {
  return {
    import_milli_wh: points.reduce((sum, each) => sum + each.import_milli_wh, 0),
    export_milli_wh: points.reduce((sum, each) => sum + each.export_milli_wh, 0),
    estimated: points.some((each) => each.estimated),
  };
}

/** Points by the calendar's steps, which begin where the viewer's days do; null where none is. */
function stepped(
  points: Point[],
  shown: Period,
  span: Span,
): (Total & { from: Date; any: boolean })[] {
  const starts = steps(shown, STEP_OF[span]);
  return starts.map((from, n) => {
    const end = us(starts[n + 1] ?? shown.to);
    const within = points.filter((each) => each.start_us >= us(from) && each.start_us < end);
    return { from, any: within.length > 0, ...total(within) };
  });
}

function bars(
  now: Point[],
  before: Point[] | null,
  shown: Period,
  earlier: Period,
  span: Span,
): Bar[] {
  const previous = before && stepped(before, earlier, span);
  return stepped(now, shown, span).map((each, n) => ({
    from: each.from,
    import_milli_wh: each.any ? each.import_milli_wh : null,
    export_milli_wh: each.any ? each.export_milli_wh : null,
    estimated: each.estimated,
    before: previous?.[n]?.any ? previous[n] : null,
  }));
}

function Totals({ points, before }: { points: Point[]; before: Point[] | null }) {
  const [now, then] = [total(points), before?.length ? total(before) : null];
  const note = (then_milli_wh: number | undefined) =>
    then_milli_wh === undefined
      ? undefined
      : t("history.before", { energy: energy(then_milli_wh) });
  const net = (sum: Total) => sum.import_milli_wh - sum.export_milli_wh;
  return (
    <dl class="figures">
      <Figure
        kind="import"
        label={t("history.import")}
        value={energy(now.import_milli_wh)}
        note={note(then?.import_milli_wh)}
      />
      <Figure
        kind="export"
        label={t("history.export")}
        value={energy(now.export_milli_wh)}
        note={note(then?.export_milli_wh)}
      />
      <Figure
        label={t("history.net")}
        value={energy(net(now))}
        note={note(then ? net(then) : undefined)}
      />
    </dl>
  );
}

function HistoryTable({ rows, span }: { rows: Bar[]; span: Span }) {
  const before = rows.some((each) => each.before);
  const dash = (milli_wh: number | null | undefined) => (milli_wh == null ? "–" : kwh(milli_wh));
  return (
    <Table
      caption={t("history.title")}
      rows={rows}
      columns={[
        { head: t("time"), cell: (each) => stepName(STEP_OF[span], each.from) },
        { head: `${t("import")} (kWh)`, number: true, cell: (each) => dash(each.import_milli_wh) },
        { head: `${t("export")} (kWh)`, number: true, cell: (each) => dash(each.export_milli_wh) },
        { head: "", cell: (each) => (each.estimated ? t("estimated") : "") },
        ...(before
          ? [
              {
                head: `${t("before")}: ${t("import")}`,
                number: true,
                cell: (each: Bar) => dash(each.before?.import_milli_wh),
              },
              {
                head: `${t("before")}: ${t("export")}`,
                number: true,
                cell: (each: Bar) => dash(each.before?.export_milli_wh),
              },
            ]
          : []),
      ]}
    />
  );
}

/** The meter at the grid's connection tells of the whole house; else the first device. */
function first(devices: Device[]): Device | undefined {
  return devices.find((each) => each.kind === "monitor") ?? devices[0];
}

export function History() {
  const { span, shown, earlier, controls } = useSpan("day");
  const [chosen, choose] = useState<string | null>(null);
  const [compare, setCompare] = useState(false);
  const devices = useLoad<Device[]>("devices");
  const device = chosen ?? first(devices.data ?? [])?.agent ?? null;
  const path = (file: string, { from, to }: Period) =>
    query(file, { device, from_us: us(from), to_us: us(to), step: STEP_OF[span] });
  const load = useLoad<Data>(device && path("history", shown));
  const before = useLoad<Data>(device && compare ? path("history", earlier) : null);
  const past = compare && before.data ? before.data.points : null;
  const rows = useMemo(
    () => bars(load.data?.points ?? [], past, shown, earlier, span),
    [load.data, past, shown, earlier, span],
  );
  const save = () =>
    act(
      () => download(path("history.csv", shown), `energy-${span}-${isoDay(shown.from)}.csv`),
      t("history.saved"),
    );
  const label = t("history.label", { period: periodName(span, shown), ...totalWords(load.data) });
  if (device === null) {
    return (
      <Card title={t("history.title")} class="wide">
        <Loaded load={devices}>{() => <Empty>{t("history.no_device")}</Empty>}</Loaded>
      </Card>
    );
  }
  return (
    <Card title={t("history.title")} class="wide">
      <div class="controls">
        {controls}
        <Select
          label={t("history.of")}
          value={device ?? ""}
          options={(devices.data ?? []).map((each) => ({ value: each.agent, text: each.name }))}
          choose={choose}
        />
        <label class="tick">
          <input
            type="checkbox"
            checked={compare}
            onChange={(event) => setCompare(event.currentTarget.checked)}
          />
          {t("history.compare")}
        </label>
        <button type="button" onClick={save}>
          {t("history.download")}
        </button>
      </div>
      <Loaded load={load}>
        {(data) => (
          <>
            {!data.complete && <p class="note">{t("history.incomplete")}</p>}
            <Totals points={data.points} before={past} />
            {data.points.length === 0 && !past?.length ? (
              <Empty>{t("history.none")}</Empty>
            ) : (
              <BarChart bars={rows} step={STEP_OF[span]} label={label} />
            )}
            <AsTable>
              <HistoryTable rows={rows} span={span} />
            </AsTable>
          </>
        )}
      </Loaded>
    </Card>
  );
}

function totalWords(data: Data | null): { import: string; export: string } {
  const sum = total(data?.points ?? []);
  return { import: energy(sum.import_milli_wh), export: energy(sum.export_milli_wh) };
}
