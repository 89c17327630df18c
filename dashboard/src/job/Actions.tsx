/** What may be asked of a run, with a question before anything happens. */

import { useRef, useState } from "preact/hooks";

import { send } from "../api/client";
import type { Job } from "../api/types";
import { Failure } from "../components/parts";
import { t } from "../text";

type Action = "stop" | "cancel" | "pause" | "resume" | "retry" | "delete" | "restore";

/** What makes sense in this state; the service decides. */
function offered(job: Job): Action[] {
  if (job.deleted_at !== null) return ["restore"];
  if (job.state === "paused") return ["resume", "stop"];
  if (job.status === "running" || job.status === "pending") return ["pause", "stop", "cancel"];
  if (job.status === "failed") return job.awaits_retry ? ["stop", "retry", "delete"] : ["retry", "delete"];
  return ["delete"];
}

export function Actions({ job, changed }: { job: Job; changed: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [action, setAction] = useState<Action | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [asked, setAsked] = useState(false);

  function ask(wanted: Action) {
    setAction(wanted);
    setError(null);
    setAsked(false);
    dialog.current?.showModal();
  }

  async function go() {
    if (action === null) return;
    try {
      if (action === "delete") await send("DELETE", `/training/jobs/${job.id}`);
      else await send("POST", `/training/jobs/${job.id}/${action}`, {});
      setAsked(true);
      dialog.current?.close();
      changed();
    } catch (reason) {
      setError(reason as Error);
    }
  }

  return (
    <div class="actions asks">
      {offered(job).map((one) => (
        <button key={one} type="button" class={one === "cancel" || one === "delete" ? "danger" : ""} onClick={() => ask(one)}>
          {t(`action.${one}`)}
        </button>
      ))}
      {asked && (
        <span class="quiet" role="status">
          {t("action.asked")}
        </span>
      )}
      <dialog ref={dialog} aria-labelledby="question">
        <p id="question">{action && t("action.sure", { action: t(`action.${action}`), id: job.id })}</p>
        {error && <Failure error={error} />}
        <div class="actions">
          <button type="button" class="primary" onClick={() => void go()}>
            {action && t(`action.${action}`)}
          </button>
          <button type="button" onClick={() => dialog.current?.close()}>
            {t("action.no")}
          </button>
        </div>
      </dialog>
    </div>
  );
}
