/** What a viewer chose for this browser: colours, language, community. */

import { effect, signal } from "@preact/signals";

type Theme = "auto" | "light" | "dark";

function kept<T extends string>(key: string, known: readonly T[], otherwise: T) {
  const stored = localStorage.getItem(key) as T | null;
  const chosen = signal<T>(stored !== null && known.includes(stored) ? stored : otherwise);
  effect(() => localStorage.setItem(key, chosen.value));
  return chosen;
}

export const THEMES = ["auto", "light", "dark"] as const;
export const theme = kept<Theme>("ioe-theme", THEMES, "auto");

export const LANGUAGES = ["en", "de"] as const;
export type Language = (typeof LANGUAGES)[number];
const preferred = LANGUAGES.find((each) => navigator.language.startsWith(each));
export const language = kept<Language>("ioe-language", LANGUAGES, preferred ?? "en");

/** The community that wallet, market and members show; the node's first while none is chosen. */
export const community = signal<string | null>(null);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  document.documentElement.lang = language.value;
});
