/** A span of the calendar to look at, and the controls that choose it. */

import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { t } from "./i18n";
import { type Period, type Span, isoDay, period, periodName } from "./time";
import { Choice, Pager } from "./ui";

const SPANS = ["day", "week", "month", "year"] as const;

export function useSpan(first: Span): {
  span: Span;
  /** The chosen period and the one before it; the same objects until another is chosen. */
  shown: Period;
  earlier: Period;
  controls: JSX.Element;
} {
  const [span, setSpan] = useState(first);
  const [back, setBack] = useState(0);
  const today = isoDay(new Date());
  const [shown, earlier] = useMemo(
    () => [period(span, new Date(), back), period(span, new Date(), back - 1)] as const,
    [span, back, today],
  );
  const controls = (
    <>
      <Choice
        label={t("history.span")}
        value={span}
        options={SPANS.map((value) => ({ value, text: t(`span.${value}`) }))}
        choose={(value) => {
          setSpan(value);
          setBack(0);
        }}
      />
      <Pager
        name={periodName(span, shown)}
        earlier={() => setBack(back - 1)}
        later={back < 0 ? () => setBack(back + 1) : null}
      />
    </>
  );
  return { span, shown, earlier, controls };
}
