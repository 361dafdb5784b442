import type { Progress } from "../api.ts";
import type { TrefoilError } from "../runtime/errors.ts";
import { Warning } from "./icons.tsx";
import { load, notice, phase, retry } from "./model.ts";
import { bytes } from "./numbers.ts";
import { setPreference } from "./preferences.ts";

/** What is going on with the model: loading, failed, or worth a notice. */
export function Status() {
  const now = phase.value;
  switch (now.kind) {
    case "starting":
      return <Bar label="Starting" />;
    case "asking":
      return (
        <div class="card">
          <p>
            The model has to be downloaded once: {bytes(now.bytes)}. Your browser asks pages to save
            data.
          </p>
          <div class="row">
            <button type="button" class="primary" onClick={() => void load()}>
              Download {bytes(now.bytes)}
            </button>
          </div>
        </div>
      );
    case "loading":
      return <Loading progress={now.progress} />;
    case "failed":
      return <Failed error={now.error} />;
    case "ready":
      return notice.value ? (
        <div class="card">
          <p>{notice.value}</p>
          <div class="row">
            <button
              type="button"
              onClick={() => {
                notice.value = undefined;
              }}
            >
              Dismiss
            </button>
          </div>
        </div>
      ) : null;
  }
}

function Loading({ progress }: { progress: Progress | undefined }) {
  if (!progress) {
    return <Bar label="Looking for the model" />;
  }
  const { stage, done, total } = progress;
  const share = total > 0 ? done / total : 0;
  if (stage === "read") {
    return <Bar label="Loading the model" share={share} />;
  }
  return share === 1 ? (
    <Bar label="Preparing the model" />
  ) : (
    <Bar label="Downloading the model" share={share} detail={`${bytes(done)} of ${bytes(total)}`} />
  );
}

function Bar({ label, share, detail }: { label: string; share?: number; detail?: string }) {
  return (
    <div class="loading">
      <p>
        <span>{label}</span>
        <span>{detail ?? (share === undefined ? "" : `${Math.round(share * 100)} %`)}</span>
      </p>
      <progress aria-label={label} max={1} {...(share === undefined ? {} : { value: share })} />
    </div>
  );
}

function Failed({ error }: { error: TrefoilError }) {
  return (
    <div class="card failed" role="alert">
      <Warning />
      <div>
        <p>
          <strong title={error.detail || undefined}>{error.message}</strong>
        </p>
        {error.hint && <p>{error.hint}</p>}
        <div class="row">{waysOn(error)}</div>
      </div>
    </div>
  );
}

/** What may help after an error, as buttons. */
function waysOn({ code }: TrefoilError) {
  const again = (label: string) => (
    <button type="button" class="primary" onClick={() => void retry()}>
      {label}
    </button>
  );
  switch (code) {
    case "missing-feature":
      return null;
    case "invalid-option":
    case "unsupported":
      return (
        <button
          type="button"
          class="primary"
          onClick={() => {
            setPreference("engine", undefined);
            setPreference("workers", undefined);
            location.search = "";
          }}
        >
          Use what fits this browser
        </button>
      );
    case "invalid-model":
    case "io":
      return (
        <button type="button" class="primary" onClick={() => void retry({ fresh: true })}>
          Download the model again
        </button>
      );
    case "out-of-memory":
    case "worker-lost":
      return again("Load the model again");
    default:
      return again("Try again");
  }
}
