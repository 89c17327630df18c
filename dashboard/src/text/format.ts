/** Numbers and times as people read them, in the page's language. */

import { computed } from "@preact/signals";

import { language } from "./index";

/** The browser's own variety of the page's language: dates of Britain are not those of America. */
const locale = computed(() => navigator.languages.find((one) => one.startsWith(language.value)) ?? language.value);

export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3);
  return value.toLocaleString(locale.value, { maximumFractionDigits: size >= 100 ? 1 : 4 });
}

/** Bytes in binary units, as file managers say them. */
export function formatBytes(bytes: number | null): string {
  if (bytes === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let place = 0;
  let size = bytes;
  while (size >= 1024 && place < units.length - 1) {
    size /= 1024;
    place += 1;
  }
  return `${size.toLocaleString(locale.value, { maximumFractionDigits: place === 0 ? 0 : 1 })} ${units[place]}`;
}

export function formatTime(text: string | null): string {
  if (text === null) return "–";
  return new Date(text).toLocaleString(locale.value, { dateStyle: "medium", timeStyle: "medium" });
}

/** Unix seconds as a moment. */
export function formatSpan(unix_s: number): string {
  return new Date(unix_s * 1000).toLocaleString(locale.value, { dateStyle: "short", timeStyle: "medium" });
}

/** Seconds as hours, minutes and seconds. */
export function formatDuration(seconds: number | null): string {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
