// Markdown as elements, never as HTML: what a model writes cannot become part of the page.
import { lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { CopyButton } from "./copy-button.tsx";
import { Highlighted } from "./highlight.tsx";

export function Markdown({ text }: { text: string }) {
  const tokens = useMemo(() => withLevels(lexer(text, { gfm: true })), [text]);
  return <div class="markdown">{blocks(tokens)}</div>;
}

/** Makes an answer's highest headings the second level of the page, whatever the model took. */
function withLevels(tokens: Token[]): Token[] {
  const headings = tokens.filter((token): token is Tokens.Heading => token.type === "heading");
  const highest = Math.min(...headings.map((heading) => heading.depth));
  for (const heading of headings) {
    heading.depth = Math.min(6, heading.depth - highest + 2);
  }
  return tokens;
}

function blocks(tokens: Token[]): ComponentChildren {
  return tokens.map(block);
}

function block(token: Token): ComponentChildren {
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "heading": {
      const Heading = `h${token.depth}` as "h2";
      return <Heading>{inlines(token.tokens)}</Heading>;
    }
    case "paragraph":
      return <p>{inlines(token.tokens)}</p>;
    case "code":
      return <CodeBlock code={token.text} language={token.lang?.split(/\s/)[0] ?? ""} />;
    case "blockquote":
      return <blockquote>{blocks(token.tokens ?? [])}</blockquote>;
    case "list":
      return <List list={token as Tokens.List} />;
    case "table":
      return <Table table={token as Tokens.Table} />;
    case "hr":
      return <hr />;
    case "html":
      return <p>{token.raw}</p>;
    default:
      return inline(token);
  }
}

function List({ list }: { list: Tokens.List }) {
  const items = list.items.map((item) => (
    <li class={item.task ? "task" : undefined}>
      {item.task && (
        <input
          type="checkbox"
          aria-label={item.checked ? "done" : "to do"}
          checked={item.checked ?? false}
          disabled
        />
      )}
      {blocks(item.tokens.filter((token) => token.type !== "checkbox"))}
    </li>
  ));
  return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table }: { table: Tokens.Table }) {
  const cell = (Cell: "th" | "td") => (item: Tokens.TableCell) => (
    <Cell class={item.align ? `align-${item.align}` : undefined}>{inlines(item.tokens)}</Cell>
  );
  return (
    // Wide tables scroll by themselves, by keyboard as well.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable
    <section class="table" aria-label="Table" tabIndex={0}>
      <table>
        <thead>
          <tr>{table.header.map(cell("th"))}</tr>
        </thead>
        <tbody>
          {table.rows.map((row) => (
            <tr>{row.map(cell("td"))}</tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function CodeBlock({ code, language }: { code: string; language: string }) {
  return (
    <figure class="code">
      <figcaption>
        <span>{language || "code"}</span>
        <CopyButton text={code} label="Copy code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable */}
      <pre tabIndex={0}>
        <code>
          <Highlighted code={code} language={language.toLowerCase()} />
        </code>
      </pre>
    </figure>
  );
}

function inlines(tokens: Token[] | undefined): ComponentChildren {
  return tokens?.map(inline);
}

function inline(token: Token): ComponentChildren {
  switch (token.type) {
    case "strong":
      return <strong>{inlines(token.tokens)}</strong>;
    case "em":
      return <em>{inlines(token.tokens)}</em>;
    case "del":
      return <del>{inlines(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return <Link href={token.href}>{inlines(token.tokens)}</Link>;
    case "image":
      // Nothing is fetched for an answer, pictures included.
      return <Link href={token.href}>{token.text || token.href}</Link>;
    case "text":
      return token.tokens ? inlines(token.tokens) : decoded(token.raw);
    case "escape":
      return token.text;
    default:
      return token.raw;
  }
}

function Link({ href, children }: { href: string; children: ComponentChildren }) {
  return /^(https?:|mailto:)/i.test(href) ? (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  ) : (
    <span>{children}</span>
  );
}

const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', nbsp: "\u00a0" };

function decoded(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|nbsp|#39);/g, (_, name: string) => entities[name] ?? "'");
}
