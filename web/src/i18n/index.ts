/** Texts by key.  The type of a catalogue is that of the English one, so none can lack a key. */

import { computed } from "@preact/signals";
import { type Language, language } from "../settings";
import de from "./de.json";
import en from "./en.json";

export type Key = keyof typeof en;
type Catalogue = Record<Key, string>;

const CATALOGUES: Record<Language, Catalogue> = { en, de };

/** For numbers and dates: the browser's own kind of the language where it has one. */
export const locale = computed(() =>
  navigator.language.startsWith(language.value)
    ? navigator.language
    : { en: "en-GB", de: "de-DE" }[language.value],
);

/** The text of a key, its {names} filled in. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  return CATALOGUES[language.value][key].replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** The text of `group.word` for a word that the node says; the word itself if it is a new one. */
export function word(group: string, said: string): string {
  const key = `${group}.${said.replaceAll(" ", "_")}`;
  return key in en ? t(key as Key) : said;
}
