/** Import upwards and export downwards for each step of a period; the period before as outlines. */

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { t } from "../i18n";
import { type Step, stepName } from "../time";
import { energy, plain } from "../units";
import { colour, useShade } from "./colours";
import { useWidth } from "./size";

const HEIGHT = 280;

export interface Bar {
  from: Date;
  import_milli_wh: number | null;
  export_milli_wh: number | null;
  estimated: boolean;
  before: { import_milli_wh: number; export_milli_wh: number } | null;
}

const kwh = (milli_wh: number | null) => (milli_wh === null ? null : milli_wh / 1e6);

/** uPlot's columns: time, then measured and estimated bars, then the period before. */
function columns(bars: Bar[]): uPlot.AlignedData {
  const pick = (take: (bar: Bar) => number | null) => bars.map(take);
  return [
    bars.map((_, n) => n),
    pick((bar) => (bar.estimated ? null : kwh(bar.import_milli_wh))),
    pick((bar) => (bar.estimated ? null : kwh(bar.export_milli_wh && -bar.export_milli_wh))),
    pick((bar) => (bar.estimated ? kwh(bar.import_milli_wh) : null)),
    pick((bar) => (bar.estimated ? kwh(bar.export_milli_wh && -bar.export_milli_wh) : null)),
    pick((bar) => kwh(bar.before && bar.before.import_milli_wh)),
    pick((bar) => kwh(bar.before && -bar.before.export_milli_wh)),
  ];
}

function options(
  bars: Bar[],
  step: Step,
  width: number,
  hover: (n: number | null) => void,
): uPlot.Options {
  const paths = uPlot.paths.bars!({ size: [0.72, 42], radius: 0.15 });
  const wider = uPlot.paths.bars!({ size: [0.9, 54], radius: 0.15 });
  const [quiet, line] = [colour("quiet"), colour("line")];
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const solid = (name: string) => ({
    paths,
    width: 0,
    fill: colour(name),
    points: { show: false },
  });
  const pale = (name: string) => ({
    paths,
    width: 1,
    stroke: colour(name),
    fill: colour(`${name}-pale`),
    points: { show: false },
  });
  const before = { paths: wider, width: 1.5, stroke: quiet, points: { show: false } };
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    scales: { x: { time: false, range: [-0.6, bars.length - 0.4] } },
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
    axes: [
      {
        stroke: quiet,
        font,
        grid: { show: false },
        ticks: { show: false },
        size: 26,
        space: step === "hour" ? 56 : 28,
        incrs: step === "hour" ? [1, 2, 3, 6, 12] : [1, 2, 5, 7],
        values: (_, splits) => splits.map((n) => name(bars, n, step)),
      },
      {
        stroke: quiet,
        font,
        size: 48,
        grid: { stroke: line, width: 1 },
        ticks: { show: false },
        values: (_, splits) => splits.map(plain),
      },
    ],
    series: [{}, solid("import"), solid("export"), pale("import"), pale("export"), before, before],
  };
}

function name(bars: Bar[], n: number, step: Step): string {
  const bar = bars[n];
  return bar ? stepName(step, bar.from, true) : "";
}

/** One step in words. */
function said(bar: Bar, step: Step): string {
  const parts = [
    `${stepName(step, bar.from)}: ${t("import")} ${energy(bar.import_milli_wh)}`,
    `${t("export")} ${energy(bar.export_milli_wh)}`,
  ];
  if (bar.estimated) parts.push(t("estimated"));
  if (bar.before) {
    parts.push(
      `${t("before")} ${energy(bar.before.import_milli_wh)} / ${energy(bar.before.export_milli_wh)}`,
    );
  }
  return parts.join(" · ");
}

export function BarChart({ bars, step, label }: { bars: Bar[]; step: Step; label: string }) {
  const [ref, width] = useWidth();
  const canvas = useRef<HTMLDivElement>(null);
  const [hovered, hover] = useState<number | null>(null);
  const shade = useShade();
  useEffect(() => {
    if (!width || !canvas.current) return;
    const plot = new uPlot(options(bars, step, width, hover), columns(bars), canvas.current);
    return () => plot.destroy();
  }, [bars, step, width, shade]);
  const bar = hovered === null ? undefined : bars[hovered];
  return (
    <div ref={ref} class="bars">
      <ul class="legend" aria-hidden="true">
        <li class="unit">kWh</li>
        <li class="import">{t("import")}</li>
        <li class="export">{t("export")}</li>
        {bars.some((each) => each.estimated) && <li class="estimated">{t("estimated")}</li>}
        {bars.some((each) => each.before) && <li class="before">{t("before")}</li>}
      </ul>
      <div ref={canvas} role="img" aria-label={label} />
      <p class="readout" aria-hidden="true">
        {bar ? said(bar, step) : "\u00a0"}
      </p>
    </div>
  );
}
