// Colours for code: what most languages share, without knowing any of them well.

const hashComments =
  /^(py|python|sh|bash|shell|zsh|ruby|rb|yaml|yml|toml|r|perl|make|makefile|dockerfile|elixir|julia)$/;
const dashComments = /^(sql|lua|haskell|hs|ada|elm)$/;
const plain = /^(text|txt|plain|plaintext|output|console|markdown|md)?$/;

const keywords = new Set(
  `abstract and as assert async await begin boolean break case catch char class const continue
  data def default defer delete do double elif else end enum except export extends extern false
  final finally fn for from func function go if impl implements import in include int interface is
  lambda let long loop match mod module mut namespace new nil None not null of operator or package
  pass private protected pub public raise return select self short sizeof static string struct
  super switch template then this throw trait True False true try type typedef typeof undefined
  union unless unsafe until use using var void where while with yield
  SELECT FROM WHERE INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE JOIN ON GROUP BY ORDER LIMIT
  AND OR NOT NULL AS`.split(/\s+/),
);

/** Highlighted code, as elements. */
export function Highlighted({ code, language }: { code: string; language: string }) {
  if (plain.test(language)) {
    return <>{code}</>;
  }
  return (
    <>
      {pieces(code, language).map(({ kind, text }) =>
        kind ? <span class={`code-${kind}`}>{text}</span> : text,
      )}
    </>
  );
}

interface Piece {
  kind: "comment" | "string" | "number" | "keyword" | "call" | undefined;
  text: string;
}

function pieces(code: string, language: string): Piece[] {
  const comment = hashComments.test(language)
    ? "#[^\\n]*"
    : dashComments.test(language)
      ? "--[^\\n]*"
      : "//[^\\n]*|/\\*[\\s\\S]*?(?:\\*/|$)|<!--[\\s\\S]*?(?:-->|$)";
  const scan = new RegExp(
    [
      `(?<comment>${comment})`,
      `(?<string>"""[\\s\\S]*?(?:"""|$)|"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'|\`(?:\\\\.|[^\`\\\\])*\`?)`,
      "(?<number>\\b\\d[\\w.]*)",
      "(?<word>[A-Za-z_]\\w*)",
    ].join("|"),
    "g",
  );
  const result: Piece[] = [];
  let end = 0;
  for (const match of code.matchAll(scan)) {
    if (match.index > end) {
      result.push({ kind: undefined, text: code.slice(end, match.index) });
    }
    const [text] = match;
    const { comment: isComment, string, number } = match.groups ?? {};
    const called = match.groups?.word && code[match.index + text.length] === "(";
    const word = keywords.has(text) ? "keyword" : called ? "call" : undefined;
    const kind = isComment ? "comment" : string ? "string" : number ? "number" : word;
    result.push({ kind, text });
    end = match.index + text.length;
  }
  result.push({ kind: undefined, text: code.slice(end) });
  return result;
}
