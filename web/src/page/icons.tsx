// Drawn for this page; 24 by 24, in the colour of the text around.
import type { ComponentChildren } from "preact";

function icon(children: ComponentChildren) {
  return () => (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const Leaf = icon(
  <>
    <circle cx="12" cy="7.8" r="4.3" />
    <circle cx="7.6" cy="15" r="4.3" />
    <circle cx="16.4" cy="15" r="4.3" />
    <path d="M12 13.2c0 3 .6 5.600 1.800 8.300" />
  </>,
);
export const Plus = icon(<path d="M12 5v14M5 12h14" />);
export const Menu = icon(<path d="M4 7h16M4 12h16M4 17h16" />);
export const Close = icon(<path d="M6 6l12 12M18 6L6 18" />);
export const Send = icon(<path d="M12 19V5M6 11l6-6 6 6" />);
export const Stop = icon(<rect x="7" y="7" width="10" height="10" rx="2" class="filled" />);
export const Copy = icon(
  <>
    <rect x="9" y="9" width="11" height="11" rx="2" />
    <path d="M15 5.500V5a2 2 0 0 0-2-2H5a2 2 0 0 0-2 2v8a2 2 0 0 0 2 2h.5" />
  </>,
);
export const Check = icon(<path d="M5 12.500l4.500 4.500L19 7.500" />);
export const Again = icon(<path d="M20 11a8 8 0 1 0-.6 4M20 4v7h-7" />);
export const Trash = icon(
  <path d="M5 7h14M10 7V4.500h4V7M7 7l.8 12.500h8.400L17 7M10.500 11v5M13.500 11v5" />,
);
export const Pen = icon(<path d="M4 20l1-4L16 5l3 3L8 19zM14 7l3 3" />);
export const Sliders = icon(<path d="M4 8h9M17 8h3M4 16h3M11 16h9M15 5.500v5M9 13.500v5" />);
export const Info = icon(
  <>
    <circle cx="12" cy="12" r="8.500" />
    <path d="M12 11v5M12 7.700v.3" />
  </>,
);
export const Warning = icon(<path d="M12 4l9 16H3zM12 10v5M12 17.300v.3" />);
