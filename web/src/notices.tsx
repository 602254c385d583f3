/** What was just done, refused or reported, for the eye and the screen reader: lines that pass. */

import { signal } from "@preact/signals";

interface Notice {
  id: number;
  text: string;
  bad: boolean;
}

const NOTICES_MAX = 4;
const GOOD_MS = 6_000;
const BAD_MS = 15_000;

const shown = signal<Notice[]>([]);
let count = 0;

export function tell(text: string, bad = false): void {
  const id = ++count;
  shown.value = [...shown.value, { id, text, bad }].slice(-NOTICES_MAX);
  setTimeout(
    () => {
      shown.value = shown.value.filter((each) => each.id !== id);
    },
    bad ? BAD_MS : GOOD_MS,
  );
}

/** Both regions are there from the start, so that what comes into them is read out. */
export function Notices() {
  const lines = (bad: boolean) =>
    shown.value.filter((each) => each.bad === bad).map((each) => <p key={each.id}>{each.text}</p>);
  return (
    <div class="notices">
      <div role="status" aria-atomic="false">
        {lines(false)}
      </div>
      <div role="alert" aria-atomic="false">
        {lines(true)}
      </div>
    </div>
  );
}
