/** Quantities as people read them.  Power is W or kW, energy Wh, kWh or MWh; never one for the other. */

import { locale } from "./i18n";

const MINUS = "−";

function number(value: number, digits: number, fixed = false): string {
  const text = new Intl.NumberFormat(locale.value, {
    minimumFractionDigits: fixed ? digits : 0,
    maximumFractionDigits: digits,
    signDisplay: "negative",
  }).format(value);
  return text.replace("-", MINUS);
}

/** A number on an axis. */
export function plain(value: number): string {
  return number(value, 3);
}

/** Three significant digits, so that 1.25, 12.5 and 125 have the same weight. */
function sensible(value: number): string {
  const size = Math.abs(value);
  return number(value, size >= 100 ? 0 : size >= 10 ? 1 : 2, true);
}

/** `850 W`, `1.25 kW`; a dash for what is unknown. */
export function power(milli_w: number | null | undefined): string {
  if (milli_w == null) return "–";
  const watts = Math.round(milli_w / 1000);
  return Math.abs(watts) < 1000 ? `${number(watts, 0)} W` : `${sensible(milli_w / 1e6)} kW`;
}

/** `85 Wh`, `1.25 kWh`, `1.20 MWh`. */
export function energy(milli_wh: number | null | undefined): string {
  if (milli_wh == null) return "–";
  const size = Math.abs(milli_wh);
  if (size < 100_000) return `${number(milli_wh / 1000, size < 10_000 && size ? 1 : 0)} Wh`;
  if (size < 1e9) return `${sensible(milli_wh / 1e6)} kWh`;
  return `${sensible(milli_wh / 1e9)} MWh`;
}

/** For columns whose head says kWh. */
export function kwh(milli_wh: number): string {
  return number(milli_wh / 1e6, 3, true);
}

/** Credits with their sign only where `signed`. */
export function credits(micro: number | null | undefined, signed = false): string {
  if (micro == null) return "–";
  const text = number(micro / 1e6, 3, true);
  return signed && micro > 0 ? `+${text}` : text;
}

export function percent(basis_points: number | null | undefined): string {
  return basis_points == null ? "–" : `${number(basis_points / 100, 0)} %`;
}

/** `340 g`, `1.25 kg`. */
export function carbon(grams: number | null | undefined): string {
  if (grams == null) return "–";
  return grams < 1000 ? `${number(grams, 0)} g` : `${sensible(grams / 1000)} kg`;
}

/** `1.5` or `1,5` typed by hand as an integer of 10^-digits; null for what is no such number. */
export function typed(text: string, digits: number): number | null {
  const found = /^(\d{1,9})(?:[.,](\d+))?$/.exec(text.trim());
  const fraction = found?.[2] ?? "";
  if (!found || fraction.length > digits) return null;
  return Number(found[1] + fraction.padEnd(digits, "0"));
}

/** A sentence of the node's, its keys shortened. */
export function readable(text: string): string {
  return text.replace(/uhC[\w-]{50}/g, short);
}

/** `uhCAk3…9fQ2`: enough of a key to tell it from another. */
export function short(agent: string): string {
  return agent.length > 16 ? `${agent.slice(0, 9)}…${agent.slice(-4)}` : agent;
}
