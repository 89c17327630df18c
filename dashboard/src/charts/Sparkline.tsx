/** A line without axes, for a row of a table. */

export function Sparkline({ values, label }: { values: number[]; label: string }) {
  const finite = values.filter(Number.isFinite);
  if (finite.length < 2) return <span class="quiet">–</span>;
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low || 1;
  const path = finite
    .map((value, place) => `${place === 0 ? "M" : "L"}${((place / (finite.length - 1)) * 96 + 2).toFixed(1)} ${(22 - ((value - low) / span) * 20).toFixed(1)}`)
    .join("");
  return (
    <svg class="sparkline" viewBox="0 0 100 24" role="img" aria-label={label}>
      <path d={path} fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" />
    </svg>
  );
}
