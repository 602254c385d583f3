/** The frame around every view: navigation, connection, choices, and the way in. */

import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { setToken, token } from "./api";
import { t } from "./i18n";
import { Icon } from "./icons";
import { useLoad } from "./load";
import { Notices } from "./notices";
import { VIEWS, type View, view } from "./route";
import { LANGUAGES, THEMES, community, language, theme } from "./settings";
import { connection, follow } from "./stream";
import type { Status } from "./types";
import { Field, Form, Select } from "./ui";
import { Alerts } from "./views/alerts";
import { Apps } from "./views/apps";
import { Community } from "./views/community";
import { Devices } from "./views/devices";
import { History } from "./views/history";
import { Home } from "./views/home";
import { Market } from "./views/market";
import { Origin } from "./views/origin";
import { Wallet } from "./views/wallet";

const OF_VIEW: Record<View, ComponentType> = {
  home: Home,
  history: History,
  devices: Devices,
  wallet: Wallet,
  market: Market,
  community: Community,
  alerts: Alerts,
  origin: Origin,
  apps: Apps,
};
/** On a phone the bar at the foot has room for these; the rest is behind "more". */
const ON_THE_BAR: readonly View[] = ["home", "history", "devices", "wallet"];

const open = signal(false);

function Navigation({ status }: { status: Status | null }) {
  return (
    <nav aria-label={t("nav")} class={open.value ? "open" : ""}>
      <ul id="views">
        {VIEWS.map((each) => (
          <li class={ON_THE_BAR.includes(each) ? "" : "folded"}>
            <a
              href={`#/${each}`}
              aria-current={view.value === each ? "page" : undefined}
              onClick={() => (open.value = false)}
            >
              <Icon name={each} />
              {t(`view.${each}`)}
            </a>
          </li>
        ))}
        <li class="folded">
          <Choices status={status} />
        </li>
        <li class="more">
          <button
            type="button"
            aria-expanded={open.value}
            aria-controls="views"
            data-current={!ON_THE_BAR.includes(view.value)}
            onClick={() => (open.value = !open.value)}
          >
            <Icon name="more" />
            {t("more")}
          </button>
        </li>
      </ul>
    </nav>
  );
}

function Choices({ status }: { status: Status | null }) {
  const communities = status?.communities ?? [];
  return (
    <div class="choices">
      {communities.length > 1 && (
        <Select
          label={t("community")}
          value={community.value ?? ""}
          options={communities.map((each) => ({ value: each.name, text: each.name }))}
          choose={(name) => (community.value = name)}
        />
      )}
      <Select
        label={t("theme")}
        value={theme.value}
        options={THEMES.map((value) => ({ value, text: t(`theme.${value}`) }))}
        choose={(value) => (theme.value = value)}
      />
      <Select
        label={t("language")}
        value={language.value}
        options={LANGUAGES.map((value) => ({ value, text: t(`language.${value}`) }))}
        choose={(value) => (language.value = value)}
      />
    </div>
  );
}

function Inside() {
  const status = useLoad<Status>("status");
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  const shown = view.value;
  const Shown = OF_VIEW[shown];
  useEffect(follow, []);
  useEffect(() => {
    if (!first.current) heading.current?.focus();
    first.current = false;
  }, [shown]);
  useEffect(() => {
    document.title = `${t(`view.${shown}`)} – ${status.data?.name || t("title")}`;
    const [one, another] = status.data?.communities ?? [];
    if (one && another) community.value ??= one.name;
  });
  return (
    <div class="frame" onKeyDown={(event) => event.key === "Escape" && (open.value = false)}>
      <a
        class="skip"
        href="#content"
        onClick={(event) => {
          event.preventDefault();
          heading.current?.focus();
        }}
      >
        {t("skip")}
      </a>
      <header class="top">
        <p class="brand">
          <img src="./icon.svg" alt="" width="28" height="28" />
          <span>{status.data?.name || t("title")}</span>
        </p>
        <p class={`connection ${connection.value}`} role="status">
          {t(`connection.${connection.value}`)}
        </p>
      </header>
      <Navigation status={status.data} />
      <main id="content">
        <h1 ref={heading} tabIndex={-1}>
          {t(`view.${shown}`)}
        </h1>
        {connection.value === "offline" && <p class="note">{t("offline")}</p>}
        <div class="cards">
          <Shown />
        </div>
      </main>
      <Notices />
    </div>
  );
}

function WayIn() {
  const [typed, type] = useState("");
  return (
    <main class="way-in">
      <h1>{t("way_in.title")}</h1>
      <p>
        {t("way_in.text")} <code>ioe page</code>
      </p>
      <Form
        label={t("way_in.title")}
        button={t("way_in.button")}
        submit={async () => setToken(typed.trim())}
      >
        <Field label={t("way_in.token")} type="password" value={typed} change={type} />
      </Form>
    </main>
  );
}

export function App() {
  return token.value ? <Inside /> : <WayIn />;
}
