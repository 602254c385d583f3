/**
 * Where power goes at this moment: sources around the house, each on a line whose dashes run the
 * way that the energy does.  Import and discharge are positive, as in Home Assistant.
 */

import { t } from "../i18n";
import { type IconName, iconPath, kindIcon } from "../icons";
import { STILL_MILLI_W, type Source, meaning } from "../meaning";
import type { Flow, FlowDevice } from "../types";
import { power } from "../units";
import { useWidth } from "./size";

const WIDE_FROM = 620;
const DEVICES_MAX = { wide: 6, narrow: 4 };
const RADIUS = 41;

interface Place {
  x: number;
  y: number;
  radius?: number;
  /** Its name stands to the right of the circle, not under it. */
  beside?: boolean;
}

function Node(props: {
  at: Place;
  icon: IconName;
  name?: string;
  kind: string;
  milli_w: number | null;
  note?: string;
}) {
  const { x, y, radius = RADIUS, beside = false } = props.at;
  const small = radius < RADIUS;
  const label = beside ? { x: radius + 12, y: props.note ? -3 : 5 } : { x: 0, y: radius + 17 };
  return (
    <g class={`node ${props.kind}`} transform={`translate(${x} ${y})`}>
      <circle r={radius} />
      <path
        class="icon"
        d={iconPath(props.icon)}
        transform={`translate(${small ? -8 : -10} ${small ? -18 : -27}) scale(${small ? 0.66 : 0.83})`}
      />
      <text class="value" y={small ? 13 : 12}>
        {power(props.milli_w)}
      </text>
      <text class={beside ? "name beside" : "name"} x={label.x} y={label.y}>
        {props.name}
      </text>
      <text class={beside ? "note beside" : "note"} x={label.x} y={label.y + 16}>
        {props.note}
      </text>
    </g>
  );
}

/** A line from one circle's edge to another's; it moves towards `to`, backwards if `milli_w` < 0. */
function Line({
  from,
  to,
  milli_w,
  kind,
}: {
  from: Place;
  to: Place;
  milli_w: number | null;
  kind: string;
}) {
  const flow = milli_w ?? 0;
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const [ux, uy] = [(to.x - from.x) / length, (to.y - from.y) / length];
  const [a, b] = [(from.radius ?? RADIUS) + 4, length - (to.radius ?? RADIUS) - 4];
  const ends = [from.x + ux * a, from.y + uy * a, from.x + ux * b, from.y + uy * b];
  const [x1, y1, x2, y2] = flow < 0 ? [ends[2], ends[3], ends[0], ends[1]] : ends;
  const moving = Math.abs(flow) >= STILL_MILLI_W;
  const width = moving ? Math.min(7, 1.5 + Math.sqrt(Math.abs(flow) / 1e6) * 1.6) : 1.5;
  return (
    <g class={`line ${kind} ${moving ? "moving" : ""}`}>
      <path d={`M${x1} ${y1}L${x2} ${y2}`} stroke-width={width} />
      {moving && <path class="dash" d={`M${x1} ${y1}L${x2} ${y2}`} stroke-width={width} />}
      {moving && <path class="tip" d="M-5-5 4 0-5 5z" transform={tip(x1!, y1!, x2!, y2!)} />}
    </g>
  );
}

function tip(x1: number, y1: number, x2: number, y2: number): string {
  const angle = (Math.atan2(y2 - y1, x2 - x1) * 180) / Math.PI;
  return `translate(${(x1 + x2) / 2} ${(y1 + y2) / 2}) rotate(${angle})`;
}

/** The largest first, and what no meter counts; makers and stores stand among the sources already. */
function consumers(flow: Flow): FlowDevice[] {
  const size = (each: FlowDevice) => Math.abs(each.power_milli_w ?? 0);
  const found = flow.devices.filter((each) => each.kind === "consumer");
  if (flow.rest_milli_w) {
    found.push({
      agent: "",
      name: t("source.rest"),
      kind: "rest",
      power_milli_w: flow.rest_milli_w,
    });
  }
  return found.sort((a, b) => size(b) - size(a));
}

function layout(wide: boolean, count: number) {
  if (wide) {
    const places: Record<Source | "home", Place> = {
      solar: { x: 290, y: 46, beside: true },
      grid: { x: 64, y: 180 },
      battery: { x: 290, y: 314, beside: true },
      home: { x: 290, y: 180, radius: 48 },
    };
    const gap = Math.min(80, 350 / Math.max(count, 1));
    const device = (n: number): Place => ({
      x: 520,
      y: 180 + (n - (count - 1) / 2) * gap,
      radius: 31,
      beside: true,
    });
    return { places, device, width: 700, height: 360 };
  }
  const places: Record<Source | "home", Place> = {
    solar: { x: 180, y: 46, beside: true },
    grid: { x: 52, y: 178 },
    battery: { x: 308, y: 178 },
    home: { x: 180, y: 178, radius: 46 },
  };
  const device = (n: number): Place => ({
    x: 180 + (n - (count - 1) / 2) * 90,
    y: 312,
    radius: 31,
  });
  return { places, device, width: 360, height: count ? 366 : 256 };
}

export function FlowChart({ flow }: { flow: Flow }) {
  const [ref, width] = useWidth();
  const wide = width >= WIDE_FROM;
  const shown = consumers(flow).slice(0, wide ? DEVICES_MAX.wide : DEVICES_MAX.narrow);
  const { places, device, ...size } = layout(wide, shown.length);
  const powers = {
    solar: flow.solar_milli_w,
    grid: flow.grid_milli_w,
    battery: flow.battery_milli_w,
  };
  const sources = (["solar", "grid", "battery"] as const).filter(
    (each) => each === "grid" || powers[each] !== null,
  );
  return (
    <div ref={ref}>
      <svg
        class="flow"
        viewBox={`0 0 ${size.width} ${size.height}`}
        role="img"
        aria-label={spoken(flow)}
      >
        {sources.map((each) => (
          <Line from={places[each]} to={places.home} milli_w={powers[each]} kind={each} />
        ))}
        {shown.map((each, n) => (
          <Line from={places.home} to={device(n)} milli_w={each.power_milli_w} kind="home" />
        ))}
        {sources.map((each) => (
          <Node
            at={places[each]}
            icon={each}
            kind={each}
            name={t(`source.${each}`)}
            milli_w={powers[each]}
            note={meaning(each, powers[each])}
          />
        ))}
        <Node at={places.home} icon="home" kind="home" milli_w={flow.home_milli_w} />
        {shown.map((each, n) => (
          <Node
            at={device(n)}
            icon={kindIcon(each.kind)}
            kind="device"
            name={clipped(each.name, wide ? 22 : 12)}
            milli_w={each.power_milli_w}
          />
        ))}
      </svg>
    </div>
  );
}

function clipped(name: string, characters: number): string {
  return name.length > characters ? `${name.slice(0, characters - 1)}…` : name;
}

/** The chart in one sentence. */
function spoken(flow: Flow): string {
  const part = (source: Source | "home", milli_w: number | null) =>
    `${t(`source.${source}`)} ${power(milli_w)}, ${meaning(source, milli_w)}`;
  return [
    part("home", flow.home_milli_w),
    part("solar", flow.solar_milli_w),
    part("grid", flow.grid_milli_w),
    part("battery", flow.battery_milli_w),
  ].join("; ");
}
