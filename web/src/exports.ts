// What the package exports wherever it runs, beside `load`.
export type * from "./api.ts";
export { type OpenAi, openai } from "./openai.ts";
export { Answer } from "./runtime/answer.ts";
export { type ErrorCode, TrefoilError } from "./runtime/errors.ts";
export { Model, type TokenizeOptions } from "./runtime/model.ts";
