/** What stands around every page: menu, language, theme. */

import type { ComponentChildren } from "preact";
import { useLocation } from "preact-iso";

import { choose, language, t, type Language } from "../text";
import { theme, type Theme } from "./theme";

const PAGES: [string, string][] = [
  ["/", "nav.jobs"],
  ["/new", "nav.new"],
  ["/datasets", "nav.datasets"],
  ["/models", "nav.models"],
  ["/system", "nav.system"],
];

export function Frame({ children }: { children: ComponentChildren }) {
  const { path } = useLocation();
  const here = (address: string) => path === address || (address === "/" && path.startsWith("/jobs"));
  return (
    <>
      <a class="skip" href="#content">
        {t("nav.skip")}
      </a>
      <header>
        <a class="brand" href="/">
          <img src="/icon.svg" alt="" width="22" height="22" />
          epochlog
        </a>
        <nav aria-label={t("nav.main")}>
          {PAGES.map(([address, name]) => (
            <a key={address} href={address} aria-current={here(address) ? "page" : undefined}>
              {t(name)}
            </a>
          ))}
        </nav>
        <span class="choices">
          <select
            aria-label={t("nav.theme")}
            value={theme.value}
            onChange={(event) => (theme.value = event.currentTarget.value as Theme)}
          >
            {(["auto", "light", "dark"] as const).map((one) => (
              <option key={one} value={one}>
                {t(`theme.${one}`)}
              </option>
            ))}
          </select>
          <select
            aria-label={t("nav.language")}
            value={language.value}
            onChange={(event) => choose(event.currentTarget.value as Language)}
          >
            <option value="en">English</option>
            <option value="ko">한국어</option>
          </select>
        </span>
      </header>
      <main id="content" tabIndex={-1}>
        {children}
      </main>
    </>
  );
}
