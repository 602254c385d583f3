/** Our credits, what moved them, and a payment to another member. */

import { useEffect, useMemo, useState } from "preact/hooks";
import { get, post, query } from "../api";
import { t, word } from "../i18n";
import { useLoad } from "../load";
import { type Names, useNames } from "../names";
import { community } from "../settings";
import { moment } from "../time";
import type { Wallet as Data, Status, WalletEntry } from "../types";
import { Card, Empty, Field, Figure, Form, Loaded, Select, Table, act } from "../ui";
import { credits, energy, short, typed } from "../units";

const CREDIT_DIGITS = 6;

function Balance({ wallet }: { wallet: Data }) {
  const spendable = wallet.balance_micro_credits + wallet.limit_micro_credits;
  return (
    <dl class="figures">
      <Figure
        kind="main"
        label={t("wallet.balance")}
        value={credits(wallet.balance_micro_credits)}
        note={t("wallet.spendable", { credits: credits(spendable) })}
      />
      <Figure
        label={t("wallet.pending")}
        value={credits(wallet.pending_micro_credits, true)}
        note={t("wallet.pending_note")}
      />
      <Figure
        label={t("wallet.limit")}
        value={credits(wallet.limit_micro_credits)}
        note={t("wallet.limit_note")}
      />
    </dl>
  );
}

function signed(entry: WalletEntry): string {
  return credits(
    entry.direction === "in" ? Math.abs(entry.micro_credits) : -Math.abs(entry.micro_credits),
    true,
  );
}

function Statement({ wallet, names }: { wallet: Data; names: Names }) {
  const [older, setOlder] = useState<WalletEntry[]>([]);
  const [next, setNext] = useState(wallet.next);
  useEffect(() => {
    setOlder([]);
    setNext(wallet.next);
  }, [wallet]);
  async function more() {
    const page = await get<Data>(query("wallet", { community: community.value, after: next }));
    setOlder([...older, ...page.entries]);
    setNext(page.next);
  }
  const rows = [...wallet.entries, ...older];
  if (!rows.length) return <Empty>{t("wallet.none")}</Empty>;
  return (
    <>
      <Table
        caption={t("wallet.statement")}
        rows={rows}
        columns={[
          { head: t("time"), cell: (each) => moment(each.at_us) },
          { head: t("wallet.with"), cell: (each) => names.of(each.counterparty) },
          { head: t("wallet.for"), cell: (each) => each.why || word("entry", each.kind) },
          {
            head: t("energy"),
            number: true,
            cell: (each) => each.energy_milli_wh !== null && energy(each.energy_milli_wh),
          },
          { head: t("credits"), number: true, cell: (each) => <b>{signed(each)}</b> },
          { head: t("state"), cell: (each) => (each.final ? t("wallet.final") : t("wallet.open")) },
        ]}
      />
      {next !== null && (
        <button type="button" onClick={more}>
          {t("wallet.more")}
        </button>
      )}
    </>
  );
}

function Pay({ names, paid }: { names: Names; paid: () => void }) {
  const [to, setTo] = useState("");
  const [amount, setAmount] = useState("");
  const [memo, setMemo] = useState("");
  const micro = typed(amount, CREDIT_DIGITS);
  const us = useLoad<Status>("status").data?.agent;
  const others = names.members.filter((each) => each.agent !== us);
  // Sent again after an answer that was lost, the same payment is made once.
  const request = useMemo(() => crypto.randomUUID(), [to, amount, memo, community.value]);
  async function pay() {
    const body = { community: community.value, to, micro_credits: micro, memo, request };
    const done = t("wallet.paid", { credits: credits(micro), name: names.of(to) });
    if (!(await act(() => post("payments", body), done))) return;
    setAmount("");
    setMemo("");
    paid();
  }
  return (
    <Form label={t("wallet.pay")} button={t("wallet.pay_button")} submit={pay}>
      <Select
        label={t("wallet.to")}
        value={to}
        options={[
          { value: "", text: t("wallet.choose") },
          ...others.map((each) => ({
            value: each.agent,
            text: each.name ? `${each.name} (${short(each.agent)})` : short(each.agent),
          })),
        ]}
        choose={setTo}
      />
      <Field
        label={t("wallet.amount")}
        unit={t("credits")}
        decimal
        value={amount}
        change={setAmount}
        hint={t("wallet.amount_hint")}
      />
      <Field label={t("wallet.memo")} value={memo} change={setMemo} required={false} />
    </Form>
  );
}

export function Wallet() {
  const names = useNames();
  const load = useLoad<Data>(query("wallet", { community: community.value }));
  return (
    <>
      <Card title={t("wallet.title")} class="wide">
        <Loaded load={load}>{(wallet) => <Balance wallet={wallet} />}</Loaded>
      </Card>
      <Card title={t("wallet.statement")} class="broad">
        <Loaded load={load}>{(wallet) => <Statement wallet={wallet} names={names} />}</Loaded>
      </Card>
      <Card title={t("wallet.pay")} class="slim">
        <Pay names={names} paid={load.reload} />
      </Card>
    </>
  );
}
