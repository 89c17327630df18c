/** A form out of JSON Schema, for the parts that configurations use: numbers, text, choices, switches, the rest as JSON. */

import { t } from "../text";

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  $ref?: string;
  $defs?: Record<string, Schema>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  multipleOf?: number;
  properties?: Record<string, Schema>;
}

export type Values = Record<string, unknown>;

/** The schema that a reference into the document means, one step at a time. */
export function resolved(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let depth = 0; found.$ref !== undefined && depth < 10; depth += 1) {
    const path = found.$ref.replace(/^#\//, "").split("/");
    const target = path.reduce<unknown>((place, key) => (place as Record<string, unknown> | undefined)?.[key], root);
    found = { ...(target as Schema), ...Object.fromEntries(Object.entries(found).filter(([key]) => key !== "$ref")) };
  }
  return found;
}

interface FormProps {
  schema: Schema;
  root: Schema;
  values: Values;
  change: (values: Values) => void;
  /** What the service found wrong, by field. */
  wrong: ReadonlyMap<string, string>;
  prefix: string;
}

export function SchemaForm({ schema, root, values, change, wrong, prefix }: FormProps) {
  return (
    <div class="fields">
      {Object.entries(schema.properties ?? {}).map(([name, property]) => (
        <Field
          key={name}
          name={name}
          id={`${prefix}-${name}`}
          schema={resolved(property, root)}
          root={root}
          value={values[name]}
          wrong={wrong.get(name) ?? null}
          change={(value) => {
            const next = { ...values };
            // What is left empty is not sent: the default is the trainer's.
            if (value === undefined) delete next[name];
            else next[name] = value;
            change(next);
          }}
        />
      ))}
    </div>
  );
}

interface FieldProps {
  name: string;
  id: string;
  schema: Schema;
  root: Schema;
  value: unknown;
  wrong: string | null;
  change: (value: unknown) => void;
}

function Field({ name, id, schema, root, value, wrong, change }: FieldProps) {
  const help = [schema.description, schema.default === undefined || schema.default === null ? "" : t("new.default", { value: JSON.stringify(schema.default) })]
    .filter(Boolean)
    .join(" · ");
  return (
    <div class={wrong === null ? "field" : "field wrong"}>
      <label for={id}>{name}</label>
      <Control id={id} kind={simplest(schema, root)} schema={schema} value={value} invalid={wrong !== null} change={change} />
      <small id={`${id}-help`}>{help}</small>
      {wrong !== null && (
        <small class="problem" role="alert">
          {wrong}
        </small>
      )}
    </div>
  );
}

/** The alternative that a plain control can hold: null is an empty field. */
function simplest(schema: Schema, root: Schema): Schema {
  const ways = (schema.anyOf ?? []).map((one) => resolved(one, root)).filter((one) => one.type !== "null");
  return ways.find((one) => one.enum !== undefined) ?? (ways.length === 1 ? (ways[0] as Schema) : ways.length === 0 ? schema : { type: "json" });
}

interface ControlProps {
  id: string;
  kind: Schema;
  schema: Schema;
  value: unknown;
  invalid: boolean;
  change: (value: unknown) => void;
}

function Control({ id, kind, schema, value, invalid, change }: ControlProps) {
  const shared = { id, "aria-describedby": `${id}-help`, "aria-invalid": invalid };
  if (kind.enum !== undefined || kind.type === "boolean") {
    const choices = kind.enum ?? [true, false];
    return (
      <select
        {...shared}
        value={value === undefined ? "" : JSON.stringify(value)}
        onChange={(event) => change(event.currentTarget.value === "" ? undefined : JSON.parse(event.currentTarget.value))}
      >
        <option value="">{schema.default === undefined ? "–" : String(schema.default)}</option>
        {choices.map((choice) => (
          <option key={String(choice)} value={JSON.stringify(choice)}>
            {String(choice)}
          </option>
        ))}
      </select>
    );
  }
  if (kind.type === "integer" || kind.type === "number") {
    return (
      <input
        {...shared}
        type="number"
        step={kind.type === "integer" ? (kind.multipleOf ?? 1) : "any"}
        min={kind.minimum ?? kind.exclusiveMinimum}
        max={kind.maximum ?? kind.exclusiveMaximum}
        placeholder={schema.default === undefined || schema.default === null ? "" : String(schema.default)}
        value={value === undefined ? "" : String(value)}
        onInput={(event) => change(event.currentTarget.value === "" ? undefined : Number(event.currentTarget.value))}
      />
    );
  }
  if (kind.type === "string") {
    return (
      <input
        {...shared}
        placeholder={typeof schema.default === "string" ? schema.default : ""}
        value={typeof value === "string" ? value : ""}
        onInput={(event) => change(event.currentTarget.value === "" ? undefined : event.currentTarget.value)}
      />
    );
  }
  return (
    <input
      {...shared}
      placeholder="JSON"
      defaultValue={value === undefined ? "" : JSON.stringify(value)}
      onChange={(event) => change(parsed(event.currentTarget.value))}
    />
  );
}

/** What is no JSON is sent as text: the service says what is wrong with it. */
function parsed(text: string): unknown {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
