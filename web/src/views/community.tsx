/** Who is in the community, and how the peers that we know of behave. */

import { query } from "../api";
import { t, word } from "../i18n";
import { useLoad } from "../load";
import { community } from "../settings";
import { moment } from "../time";
import type { Member, Peer, Status } from "../types";
import { Card, Empty, Loaded, Table } from "../ui";
import { short } from "../units";

function standing(peer: Peer): string {
  if (peer.warranted) return t("peer.warranted");
  if (peer.shunned_s) return t("peer.refused", { seconds: peer.shunned_s });
  if (peer.slowed) return t("peer.slowed");
  return t(peer.refuses_us ? "peer.refuses_us" : "peer.good");
}

function Communities() {
  const status = useLoad<Status>("status");
  return (
    <Card title={t("community.ours")} class="wide">
      <Loaded load={status}>
        {(found) =>
          found.communities.length ? (
            <Table
              caption={t("community.ours")}
              rows={found.communities}
              columns={[
                { head: t("name"), cell: (each) => each.name },
                { head: t("community.members"), number: true, cell: (each) => each.members },
                { head: t("community.actions"), number: true, cell: (each) => each.chain_seq + 1 },
                {
                  head: t("community.unpublished"),
                  number: true,
                  cell: (each) => each.unpublished,
                },
                { head: t("community.network"), cell: (each) => <code>{short(each.dna)}</code> },
              ]}
            />
          ) : (
            <Empty>{t("community.none")}</Empty>
          )
        }
      </Loaded>
    </Card>
  );
}

function Members() {
  const load = useLoad<Member[]>(query("members", { community: community.value }));
  return (
    <Card title={t("community.members")}>
      <Loaded load={load}>
        {(found) => (
          <Table
            caption={t("community.members")}
            rows={found}
            columns={[
              { head: t("name"), cell: (each) => each.name || short(each.agent) },
              { head: t("kind"), cell: (each) => word("kind", each.kind) },
              { head: t("community.near"), cell: (each) => (each.near ? t("yes") : "") },
              { head: t("community.reputation"), number: true, cell: (each) => each.reputation },
              {
                head: t("key"),
                cell: (each) => <code title={each.agent}>{short(each.agent)}</code>,
              },
            ]}
          />
        )}
      </Loaded>
    </Card>
  );
}

function Peers() {
  const load = useLoad<Peer[]>(query("peers", { community: community.value }));
  return (
    <Card title={t("community.peers")}>
      <Loaded load={load}>
        {(found) =>
          found.length ? (
            <Table
              caption={t("community.peers")}
              rows={found}
              columns={[
                { head: t("name"), cell: (each) => each.name || short(each.agent) },
                { head: t("community.role"), cell: (each) => word("kind", each.role) },
                { head: t("peer.standing"), cell: standing },
                { head: t("peer.asked"), cell: (each) => moment(each.asked_at_us) },
                { head: t("peer.points"), number: true, cell: (each) => each.score_points },
              ]}
            />
          ) : (
            <Empty>{t("community.no_peers")}</Empty>
          )
        }
      </Loaded>
    </Card>
  );
}

export function Community() {
  return (
    <>
      <Communities />
      <Members />
      <Peers />
    </>
  );
}
