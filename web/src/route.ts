/** Which view is shown, by the fragment of the address: `#/wallet`. */

import { signal } from "@preact/signals";

export const VIEWS = [
  "home",
  "history",
  "devices",
  "wallet",
  "market",
  "community",
  "alerts",
  "origin",
  "apps",
] as const;
export type View = (typeof VIEWS)[number];

function current(): View {
  const named = location.hash.replace(/^#\//, "");
  return VIEWS.find((each) => each === named) ?? "home";
}

export const view = signal<View>("home");

export function followAddress(): void {
  view.value = current();
  window.addEventListener("hashchange", () => {
    view.value = current();
  });
}
