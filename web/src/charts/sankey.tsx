/** Where a day's energy came from and where it went, the battery's flows included. */

import {
  type SankeyGraph,
  type SankeyLink,
  type SankeyNode,
  sankey,
  sankeyLinkHorizontal,
} from "d3-sankey";
import { t } from "../i18n";
import type { SankeyData } from "../types";
import { energy, kwh } from "../units";
import { AsTable, Table } from "../ui";
import { useWidth } from "./size";

type Named = SankeyData["nodes"][number];
type Node = SankeyNode<Named, object>;
type Link = SankeyLink<Named, object>;

const COLOUR_OF: Record<string, string> = {
  generator: "solar",
  monitor: "grid",
  storage: "battery",
  consumer: "home",
  rest: "home",
};

/** What has no meter has no name of its own. */
function called(node: Named): string {
  if (node.kind === "rest") return t("source.rest");
  return node.kind === "unmeasured" ? t("source.unmeasured") : node.name;
}

function colour(node: Named): string {
  return COLOUR_OF[node.kind] ?? "device";
}

/** The positions, or null for flows that run in a circle, which only a table can show. */
function laidOut(
  data: SankeyData,
  width: number,
  height: number,
): SankeyGraph<Named, object> | null {
  const layout = sankey<Named, object>()
    .nodeId((node) => node.id)
    .nodeWidth(10)
    .nodePadding(22)
    .extent([
      [1, 14],
      [width - 1, height - 14],
    ]);
  const used = new Set(data.links.flatMap((each) => [each.source, each.target]));
  try {
    return layout({
      nodes: data.nodes.filter((each) => used.has(each.id)).map((each) => ({ ...each })),
      links: data.links.map(({ source, target, milli_wh }) => ({
        source,
        target,
        value: milli_wh,
      })),
    });
  } catch {
    return null;
  }
}

export function SankeyChart({ data }: { data: SankeyData }) {
  const [ref, width] = useWidth();
  const links = data.links.filter((each) => each.milli_wh > 0);
  const height = width < 520 ? 360 : 300;
  const nodes = data.nodes.map((each) => ({ ...each, name: called(each) }));
  const names = new Map(nodes.map((each) => [each.id, each.name]));
  const graph = width ? laidOut({ nodes, links }, width, height) : null;
  return (
    <>
      <div ref={ref}>
        {graph && (
          <svg
            class="sankey"
            viewBox={`0 0 ${width} ${height}`}
            role="img"
            aria-label={t("sankey.label")}
          >
            {graph.links.map((link) => (
              <Ribbon link={link} />
            ))}
            {graph.nodes.map((node) => (
              <Bar node={node} width={width} />
            ))}
          </svg>
        )}
      </div>
      <AsTable>
        <Table
          caption={t("sankey.title")}
          rows={links}
          columns={[
            { head: t("from"), cell: (each) => names.get(each.source) },
            { head: t("to"), cell: (each) => names.get(each.target) },
            { head: "kWh", number: true, cell: (each) => kwh(each.milli_wh) },
          ]}
        />
      </AsTable>
    </>
  );
}

function Ribbon({ link }: { link: Link }) {
  const [from, to] = [link.source as Node, link.target as Node];
  return (
    <path
      class={`ribbon ${colour(from)}`}
      d={sankeyLinkHorizontal()(link as never) ?? ""}
      stroke-width={Math.max(1, link.width ?? 0)}
    >
      <title>{`${from.name} → ${to.name}: ${energy(link.value)}`}</title>
    </path>
  );
}

function Bar({ node, width }: { node: Node; width: number }) {
  const [x0, x1, y0, y1] = [node.x0 ?? 0, node.x1 ?? 0, node.y0 ?? 0, node.y1 ?? 0];
  const left = x0 < width / 2;
  return (
    <g class={colour(node)}>
      <rect x={x0} y={y0} width={x1 - x0} height={Math.max(1, y1 - y0)} rx="2" />
      <text
        x={left ? x1 + 7 : x0 - 7}
        y={(y0 + y1) / 2}
        dy="0.35em"
        text-anchor={left ? "start" : "end"}
      >
        {node.name} <tspan class="value">{energy(node.value)}</tspan>
      </text>
    </g>
  );
}
