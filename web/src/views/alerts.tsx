/** What the node wants its owner to know, the newest first. */

import { t, word } from "../i18n";
import { useLoad } from "../load";
import { moment } from "../time";
import type { Alert, Status } from "../types";
import { Card, Empty, Loaded } from "../ui";
import { readable } from "../units";

const GRAVE = ["fault", "revoked", "guesses"];

function Faults() {
  const status = useLoad<Status>("status");
  if (!status.data?.faults.length) return null;
  return (
    <Card title={t("alerts.faults")} class="wide">
      <ul class="alerts">
        {status.data.faults.map((each) => (
          <li class="grave">
            <p>{readable(each)}</p>
          </li>
        ))}
      </ul>
    </Card>
  );
}

export function Alerts() {
  const load = useLoad<Alert[]>("alerts");
  return (
    <>
      <Faults />
      <Card title={t("view.alerts")} class="wide">
        <Loaded load={load}>
          {(found) =>
            found.length ? (
              <ol class="alerts">
                {found.toReversed().map((each) => (
                  <li key={each.id} class={GRAVE.includes(each.kind) ? "grave" : ""}>
                    <strong>{word("alert", each.kind)}</strong>
                    <time dateTime={new Date(each.at_us / 1000).toISOString()}>
                      {moment(each.at_us)}
                    </time>
                    <p>{readable(each.text)}</p>
                  </li>
                ))}
              </ol>
            ) : (
              <Empty>{t("alerts.none")}</Empty>
            )
          }
        </Loaded>
      </Card>
    </>
  );
}
