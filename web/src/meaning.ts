/**
 * Signs in words.  As in Home Assistant, import and discharge are positive, export and charging
 * negative, and what the sun makes is positive.  A device's own meter counts what it draws as
 * positive, so makers and stores change their sign here, and only here.
 */

import { type Key, t } from "./i18n";

export type Source = "solar" | "grid" | "battery";

/** Less than this is noise. */
export const STILL_MILLI_W = 1_000;

const OF_KIND: Record<string, Source | "home"> = {
  generator: "solar",
  storage: "battery",
  monitor: "grid",
};

/** What a power means: `import: from the grid`, `charging`, … */
export function meaning(source: Source | "home", milli_w: number | null): string {
  if (milli_w === null) return t("flow.unknown");
  if (Math.abs(milli_w) < STILL_MILLI_W) return t("flow.still");
  if (source === "solar" || source === "home") return t(`flow.${source}`);
  const key: Key = `flow.${source}.${milli_w > 0 ? "in" : "out"}`;
  return t(key);
}

/** A device's power with the sign that its kind has, and what it means. */
export function ofDevice(
  kind: string,
  milli_w: number | null,
): { milli_w: number | null; means: string } {
  const source = OF_KIND[kind] ?? "home";
  const turned = source === "solar" || source === "battery";
  const shown = milli_w && turned ? -milli_w : milli_w;
  return { milli_w: shown, means: milli_w === null ? "" : meaning(source, shown) };
}
