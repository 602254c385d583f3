/** Colours of the style sheet for a canvas, which knows no CSS variables. */

import { useEffect, useState } from "preact/hooks";
import { theme } from "../settings";

/** A variable's colour as it is now, in the light or the dark. */
export function colour(variable: string): string {
  const probe = document.createElement("i");
  probe.style.color = `var(--${variable})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** Changes whenever colours do: by the viewer's choice, or the system's. */
export function useShade(): string {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const [system, set] = useState(dark.matches);
  useEffect(() => {
    const follow = () => set(dark.matches);
    dark.addEventListener("change", follow);
    return () => dark.removeEventListener("change", follow);
  }, []);
  return `${theme.value} ${system}`;
}
