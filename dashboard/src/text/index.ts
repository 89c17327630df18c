/** The page's words: English and Korean, chosen by the browser's language or by hand. */

import { computed, signal } from "@preact/signals";

import { english, type Words } from "./english";
import { korean } from "./korean";

export type Language = "en" | "ko";
const LANGUAGES: Record<Language, Words> = { en: english, ko: korean };
const KEPT = "epochlog.language";

function chosen(): Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "ko") return kept;
  return navigator.language.startsWith("ko") ? "ko" : "en";
}

export const language = signal<Language>(chosen());
const words = computed(() => LANGUAGES[language.value]);

export function choose(wanted: Language): void {
  localStorage.setItem(KEPT, wanted);
  language.value = wanted;
  document.documentElement.lang = wanted;
}

/** The text of a key; `{name}` in it is replaced. A key that has no text is shown as it is: states, phases, rules. */
export function t(key: string, values: Record<string, string | number> = {}): string {
  const text = (words.value as Record<string, string>)[key] ?? key;
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A word of the service (a state, a status), where there is one in this language. */
export function word(kind: string, value: string): string {
  const text = t(`${kind}.${value}`);
  return text === `${kind}.${value}` ? value : text;
}
