/** The few parts that every view is made of. */

import type { ComponentChildren, TargetedSubmitEvent } from "preact";
import { useId, useState } from "preact/hooks";
import { ApiError } from "./api";
import { t } from "./i18n";
import { Icon } from "./icons";
import type { Load } from "./load";
import { tell } from "./notices";

function errorText(error: unknown): string {
  if (!(error instanceof ApiError)) return String(error);
  return error.kind === "unreachable" ? t("error.unreachable") : error.message;
}

/** Do something at the node and tell how it ended; true if it was done. */
export async function act(work: () => Promise<unknown>, done: string): Promise<boolean> {
  try {
    await work();
  } catch (error) {
    tell(errorText(error), true);
    return false;
  }
  tell(done);
  return true;
}

export function Card(props: {
  title?: string;
  side?: ComponentChildren;
  class?: string;
  children: ComponentChildren;
}) {
  const id = useId();
  return (
    <section class={`card ${props.class ?? ""}`} aria-labelledby={props.title ? id : undefined}>
      {props.title && (
        <header>
          <h2 id={id}>{props.title}</h2>
          {props.side}
        </header>
      )}
      {props.children}
    </section>
  );
}

/** The view of loaded data; until it is there, or instead of it, what there is to say. */
export function Loaded<T>({
  load,
  children,
}: {
  load: Load<T>;
  children: (data: T) => ComponentChildren;
}) {
  if (load.data !== null) {
    return (
      <>
        {load.error && load.error.kind !== "unreachable" && (
          <p class="bad">{errorText(load.error)}</p>
        )}
        {children(load.data)}
      </>
    );
  }
  if (load.error === null) return <p class="quiet">{t("loading")}</p>;
  return (
    <p class={load.error.status === 409 ? "quiet" : "bad"} role="alert">
      {errorText(load.error)}
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="quiet">{children}</p>;
}

interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  number?: boolean;
}

/** On a phone the rows of tables with more columns become blocks of labelled lines. */
const STACKED_FROM = 3;

/**
 * A table that scrolls sideways by itself, by keyboard too, where it is wider than its card.
 * Its roles are written out, since a table that is laid out otherwise loses them.
 */
export function Table<T>(props: { caption: string; columns: Column<T>[]; rows: T[] }) {
  return (
    <div class="scroll" role="region" aria-label={props.caption} tabIndex={0}>
      <table role="table" class={props.columns.length > STACKED_FROM ? "stacked" : ""}>
        <caption class="unseen">{props.caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {props.columns.map((each) => (
              <th role="columnheader" scope="col" class={each.number ? "number" : ""}>
                {each.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {props.rows.map((row) => (
            <tr role="row">
              {props.columns.map((each) => (
                <td role="cell" class={each.number ? "number" : ""} data-head={each.head}>
                  {each.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A chart's numbers, for who cannot see it or wants them exactly. */
export function AsTable({ children }: { children: ComponentChildren }) {
  const [open, set] = useState(false);
  return (
    <details onToggle={(event) => set(event.currentTarget.open)}>
      <summary>{t("as_table")}</summary>
      {open && children}
    </details>
  );
}

export function Choice<T extends string>(props: {
  label: string;
  value: T;
  options: readonly { value: T; text: string }[];
  choose: (value: T) => void;
}) {
  const name = useId();
  return (
    <fieldset class="choice">
      <legend class="unseen">{props.label}</legend>
      {props.options.map((each) => (
        <label>
          <input
            type="radio"
            name={name}
            checked={each.value === props.value}
            onChange={() => props.choose(each.value)}
          />
          <span>{each.text}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Select<T extends string>(props: {
  label: string;
  value: T;
  options: readonly { value: T; text: string }[];
  choose: (value: T) => void;
}) {
  return (
    <label class="field">
      <span>{props.label}</span>
      <select
        value={props.value}
        onChange={(event) => props.choose(event.currentTarget.value as T)}
      >
        {props.options.map((each) => (
          <option value={each.value} selected={each.value === props.value}>
            {each.text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Field(props: {
  label: string;
  value: string;
  change: (value: string) => void;
  type?: "text" | "number" | "password" | "datetime-local";
  hint?: string;
  min?: number | undefined;
  max?: number | undefined;
  unit?: string;
  decimal?: boolean;
  required?: boolean;
}) {
  const hint = useId();
  return (
    <label class="field">
      <span>
        {props.label}
        {props.unit && <span class="quiet"> ({props.unit})</span>}
      </span>
      <input
        type={
          (props.type ?? "text") as "text" /* the roles that types allow differ; none is given */
        }
        value={props.value}
        required={props.required ?? true}
        min={props.min}
        max={props.max}
        inputMode={props.decimal ? "decimal" : undefined}
        pattern={props.decimal ? "\\d{1,9}([.,]\\d{1,6})?" : undefined}
        autocomplete="off"
        aria-describedby={props.hint ? hint : undefined}
        onInput={(event) => props.change(event.currentTarget.value)}
      />
      {props.hint && (
        <small id={hint} class="quiet">
          {props.hint}
        </small>
      )}
    </label>
  );
}

/** A form whose button rests while its work is under way. */
export function Form(props: {
  label: string;
  button: string;
  submit: () => Promise<unknown>;
  children: ComponentChildren;
}) {
  const [busy, set] = useState(false);
  async function send(event: TargetedSubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    if (busy) return;
    set(true);
    try {
      await props.submit();
    } finally {
      set(false);
    }
  }
  return (
    <form aria-label={props.label} onSubmit={send}>
      {props.children}
      <button type="submit" class="main" aria-busy={busy}>
        {props.button}
      </button>
    </form>
  );
}

/** Earlier and later, around the name of what is shown. */
export function Pager(props: { name: string; earlier: () => void; later: (() => void) | null }) {
  return (
    <div class="pager">
      <button type="button" class="plain" aria-label={t("earlier")} onClick={props.earlier}>
        <Icon name="left" />
      </button>
      <strong aria-live="polite">{props.name}</strong>
      <button
        type="button"
        class="plain"
        aria-label={t("later")}
        disabled={!props.later}
        onClick={props.later ?? undefined}
      >
        <Icon name="right" />
      </button>
    </div>
  );
}

/** One figure with what it means. */
export function Figure(props: {
  label: string;
  value: ComponentChildren;
  note?: ComponentChildren;
  kind?: string;
}) {
  return (
    <div class={`figure ${props.kind ?? ""}`}>
      <dt>{props.label}</dt>
      <dd>
        <strong>{props.value}</strong>
        {props.note && <small>{props.note}</small>}
      </dd>
    </div>
  );
}
