/** Colours that can be told apart, also by most people who see colours differently (Okabe and Ito, 2008, darkened). */
const COLORS = ["#2456c9", "#d55e00", "#009e73", "#b0408f", "#b8860b", "#0a8fb8", "#c2334d", "#6b5bd2", "#5c7a1f", "#8a5a2b"];

/** The same name has the same colour in all charts of one page. */
export function palette(names: readonly string[]): (name: string) => string {
  const places = new Map([...names].sort().map((name, place) => [name, place]));
  return (name) => COLORS[(places.get(name) ?? 0) % COLORS.length] ?? "#2456c9";
}
