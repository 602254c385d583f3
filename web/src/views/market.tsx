/** Offers and bids of the community on the left, what became of them on the right. */

import { useState } from "preact/hooks";
import { post, query, remove } from "../api";
import { t } from "../i18n";
import { useLoad } from "../load";
import { type Names, useNames } from "../names";
import { community } from "../settings";
import { localInput, moment, range, us } from "../time";
import type { Market as Data, Order, Side } from "../types";
import { Card, Choice, Empty, Field, Figure, Form, Loaded, Table, act } from "../ui";
import { credits, energy, typed } from "../units";

const KWH_DIGITS = 6;
const PRICE_DIGITS = 6;
const HOUR_MS = 3_600_000;

function Orders(props: { side: Side; orders: Order[]; names: Names; reload: () => void }) {
  const found = props.orders.filter((each) => each.side === props.side);
  async function cancel(order: Order) {
    await act(() => remove(`market/orders/${order.hash}`), t("market.cancelled"));
    props.reload();
  }
  const title = t(`market.${props.side}s`);
  return (
    <>
      <h3>{title}</h3>
      {found.length ? (
        <Table
          caption={title}
          rows={found}
          columns={[
            {
              head: t("market.price"),
              number: true,
              cell: (each) => credits(each.price_micro_credits_per_kwh),
            },
            { head: t("energy"), number: true, cell: (each) => energy(each.milli_wh) },
            { head: t("time"), cell: (each) => range(each.start_us, each.end_us) },
            {
              head: t("market.by"),
              cell: (each) => (each.ours ? <b>{t("market.us")}</b> : props.names.of(each.agent)),
            },
            {
              head: "",
              cell: (each) =>
                each.ours && (
                  <button type="button" onClick={() => cancel(each)}>
                    {t("market.cancel")}
                  </button>
                ),
            },
          ]}
        />
      ) : (
        <Empty>{t(`market.no_${props.side}s`)}</Empty>
      )}
    </>
  );
}

function nextHour(): Date {
  return new Date(Math.ceil((Date.now() + 60_000) / HOUR_MS) * HOUR_MS);
}

function Place({ placed }: { placed: () => void }) {
  const [side, setSide] = useState<Side>("offer");
  const [amount, setAmount] = useState("");
  const [price, setPrice] = useState("");
  const [start, setStart] = useState(() => localInput(nextHour()));
  const [end, setEnd] = useState(() => localInput(new Date(nextHour().getTime() + HOUR_MS)));
  async function place() {
    const body = {
      community: community.value,
      side,
      milli_wh: typed(amount, KWH_DIGITS),
      price_micro_credits_per_kwh: typed(price, PRICE_DIGITS),
      start_us: us(new Date(start)),
      end_us: us(new Date(end)),
    };
    if (await act(() => post("market/orders", body), t("market.placed"))) placed();
  }
  return (
    <Form label={t("market.place")} button={t("market.place_button")} submit={place}>
      <Choice
        label={t("market.side")}
        value={side}
        options={[
          { value: "offer", text: t("market.sell") },
          { value: "bid", text: t("market.buy") },
        ]}
        choose={setSide}
      />
      <Field label={t("energy")} unit="kWh" decimal value={amount} change={setAmount} />
      <Field
        label={t("market.price")}
        unit={t("market.price_unit")}
        decimal
        value={price}
        change={setPrice}
      />
      <Field label={t("market.start")} type="datetime-local" value={start} change={setStart} />
      <Field label={t("market.end")} type="datetime-local" value={end} change={setEnd} />
    </Form>
  );
}

function Matches({ market, names }: { market: Data; names: Names }) {
  if (!market.matches.length) return <Empty>{t("market.no_matches")}</Empty>;
  return (
    <Table
      caption={t("market.matches")}
      rows={market.matches}
      columns={[
        { head: t("time"), cell: (each) => moment(each.at_us) },
        { head: t("market.seller"), cell: (each) => names.of(each.seller) },
        { head: t("market.buyer"), cell: (each) => names.of(each.buyer) },
        { head: t("energy"), number: true, cell: (each) => energy(each.milli_wh) },
        {
          head: t("market.price"),
          number: true,
          cell: (each) => credits(each.price_micro_credits_per_kwh),
        },
        { head: t("why"), cell: (each) => each.why },
      ]}
    />
  );
}

export function Market() {
  const names = useNames();
  const load = useLoad<Data>(query("market", { community: community.value }));
  if (load.data === null) {
    return (
      <Card title={t("view.market")} class="wide">
        <Loaded load={load}>{() => null}</Loaded>
      </Card>
    );
  }
  const market = load.data;
  return (
    <>
      <Card title={t("market.orders")}>
        <p class="quiet">{t("market.price_hint")}</p>
        <Orders side="offer" orders={market.orders} names={names} reload={load.reload} />
        <Orders side="bid" orders={market.orders} names={names} reload={load.reload} />
      </Card>
      <Card title={t("market.matches")}>
        <dl class="figures">
          <Figure
            kind="main"
            label={t("market.last_price")}
            value={credits(market.price_micro_credits_per_kwh)}
            note={t("market.price_unit")}
          />
        </dl>
        <Matches market={market} names={names} />
      </Card>
      <Card title={t("market.place")}>
        <Place placed={load.reload} />
      </Card>
    </>
  );
}
