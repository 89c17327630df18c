/** Records that a read model could not apply: looked at, sent again after a fix, or given up with a reason. */

import { useState } from "preact/hooks";

import { get, send } from "../api/client";
import type { DeadLetter, DeadLetterDetail, Outcome } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t } from "../text";
import { formatTime } from "../text/format";

const PATH = "/operations/dead-letters";

export function DeadLetters() {
  const [closed, setClosed] = useState(false);
  const { data, error, reload } = useLoaded(`letters|${closed}`, (signal) =>
    get<{ dead_letters: DeadLetter[]; total: number }>(PATH, { limit: 100, status: closed ? null : "open" }, signal),
  );
  return (
    <>
      <div class="filters">
        <label class="check">
          <input type="checkbox" checked={closed} onChange={(event) => setClosed(event.currentTarget.checked)} />
          {t("letters.closed")}
        </label>
      </div>
      {error && <Failure error={error} again={reload} />}
      {data === null && error === null && <Loading />}
      {data?.dead_letters.length === 0 && <p class="quiet">{t("letters.none")}</p>}
      {data !== null && data.dead_letters.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={t("system.letters")}>
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{t("column.record")}</th>
                <th scope="col">{t("column.read_models")}</th>
                <th scope="col">{t("column.reason")}</th>
                <th scope="col">{t("column.status")}</th>
                <th scope="col" />
              </tr>
            </thead>
            <tbody>
              {data.dead_letters.map((letter) => (
                <Row key={letter.position} letter={letter} changed={reload} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function place(letter: DeadLetter): string {
  return `${PATH}/${letter.read_models[0]?.read_model ?? ""}/${letter.topic}/${letter.partition}/${letter.offset}`;
}

function Row({ letter, changed }: { letter: DeadLetter; changed: () => void }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <tr>
        <th scope="row">
          <button type="button" aria-expanded={open} aria-label={t("letters.look", { position: letter.position })} onClick={() => setOpen(!open)}>
            {letter.position}
          </button>
          <div class="quiet">
            {letter.type ?? "?"} · {formatTime(letter.append_time)}
          </div>
        </th>
        <td>{letter.read_models.map((one) => one.read_model).join(", ")}</td>
        <td class="wide">{letter.read_models[0]?.reason}</td>
        <td>{letter.status}</td>
        <td>{letter.status === "open" && <Decide letter={letter} changed={changed} />}</td>
      </tr>
      {open && (
        <tr>
          <td colSpan={5}>
            <Detail letter={letter} />
          </td>
        </tr>
      )}
    </>
  );
}

function Decide({ letter, changed }: { letter: DeadLetter; changed: () => void }) {
  const [reason, setReason] = useState("");
  const [said, setSaid] = useState<string | null>(null);

  async function decide(action: "redrive" | "discard") {
    try {
      const outcome = await send<Outcome>("POST", `${place(letter)}/${action}`, { by: "page", reason });
      const left = outcome.skipped[0];
      setSaid(left === undefined ? t("letters.done") : t("letters.skipped", { reason: left.reason }));
      if (left === undefined) changed();
    } catch (error) {
      setSaid((error as Error).message);
    }
  }

  return (
    <span class="actions">
      <input aria-label={t("letters.why")} placeholder={t("letters.why")} value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
      <button type="button" onClick={() => void decide("redrive")}>
        {t("letters.redrive")}
      </button>
      <button type="button" class="danger" disabled={reason.trim() === ""} onClick={() => void decide("discard")}>
        {t("letters.discard")}
      </button>
      {said !== null && <span role="status">{said}</span>}
    </span>
  );
}

function Detail({ letter }: { letter: DeadLetter }) {
  const { data, error } = useLoaded(letter.position, (signal) => get<DeadLetterDetail>(place(letter), {}, signal));
  if (error) return <Failure error={error} />;
  if (data === null) return <Loading />;
  const text = (bytes: { base64: string; text: string | null } | null) => (bytes === null ? "null" : (bytes.text ?? `base64 ${bytes.base64}`));
  return (
    <div class="letter">
      <pre>{data.headers.map((header) => `${header.name}: ${text(header.value)}`).join("\n")}</pre>
      <pre>{text(data.value)}</pre>
      <ul>
        {data.actions.map((one) => (
          <li key={`${one.time}${one.action}`}>
            {formatTime(one.time)} {one.action} ({one.by}) {one.reason}
          </li>
        ))}
      </ul>
    </div>
  );
}
