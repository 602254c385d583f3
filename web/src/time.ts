/** Instants are microseconds since 1970; periods are those of the viewer's calendar. */

import { locale } from "./i18n";

export type Span = "day" | "week" | "month" | "year";
export type Step = "hour" | "day" | "month";

export const STEP_OF: Record<Span, Step> = {
  day: "hour",
  week: "day",
  month: "day",
  year: "month",
};

export interface Period {
  from: Date;
  to: Date;
}

function format(date: Date, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat(locale.value, options).format(date);
}

export function us(date: Date): number {
  return date.getTime() * 1000;
}

/** The calendar period around `date`, moved by `by` periods.  A week begins on Monday. */
export function period(span: Span, date: Date, by = 0): Period {
  const [year, month, day] = [date.getFullYear(), date.getMonth(), date.getDate()];
  if (span === "year") return { from: new Date(year + by, 0), to: new Date(year + by + 1, 0) };
  if (span === "month") {
    return { from: new Date(year, month + by), to: new Date(year, month + by + 1) };
  }
  const days = span === "week" ? 7 : 1;
  const first = (span === "week" ? day - ((date.getDay() + 6) % 7) : day) + by * days;
  return { from: new Date(year, month, first), to: new Date(year, month, first + days) };
}

/** Where the steps of a period begin, by the calendar: a day may have 23 or 25 hours. */
export function steps({ from, to }: Period, step: Step): Date[] {
  const found: Date[] = [];
  for (let at = from; at < to;) {
    found.push(at);
    const [year, month, day] = [at.getFullYear(), at.getMonth(), at.getDate()];
    if (step === "hour") at = new Date(at.getTime() + 3_600_000);
    else at = step === "day" ? new Date(year, month, day + 1) : new Date(year, month + 1);
  }
  return found;
}

export function periodName(span: Span, { from, to }: Period): string {
  if (span === "year") return format(from, { year: "numeric" });
  if (span === "month") return format(from, { year: "numeric", month: "long" });
  if (span === "day")
    return format(from, { weekday: "short", day: "numeric", month: "long", year: "numeric" });
  const last = new Date(to.getFullYear(), to.getMonth(), to.getDate() - 1);
  return new Intl.DateTimeFormat(locale.value, {
    day: "numeric",
    month: "short",
    year: "numeric",
  }).formatRange(from, last);
}

export function stepName(step: Step, from: Date, brief = false): string {
  if (step === "hour") return format(from, { hour: "2-digit", minute: "2-digit" });
  if (step === "month") return format(from, { month: brief ? "narrow" : "long" });
  return format(
    from,
    brief ? { day: "numeric" } : { weekday: "short", day: "numeric", month: "short" },
  );
}

/** A moment: the clock time if it was today, else with its date. */
export function moment(at_us: number | null | undefined): string {
  if (!at_us) return "–";
  const date = new Date(at_us / 1000);
  const clock = { hour: "2-digit", minute: "2-digit" } as const;
  if (date.toDateString() === new Date().toDateString())
    return format(date, { ...clock, second: "2-digit" });
  return format(date, { day: "numeric", month: "short", ...clock });
}

export function range(start_us: number, end_us: number): string {
  const [from, to] = [new Date(start_us / 1000), new Date(end_us / 1000)];
  return new Intl.DateTimeFormat(locale.value, {
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
  }).formatRange(from, to);
}

/** `2026-11-21`, of the viewer's calendar. */
export function isoDay(date: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** What an `<input type="datetime-local">` holds. */
export function localInput(date: Date): string {
  const two = (n: number) => String(n).padStart(2, "0");
  return `${isoDay(date)}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
