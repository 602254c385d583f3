/** Line icons on a 24-unit grid, drawn in the colour of the text beside them. */

const PATHS = {
  home: "M4 11 12 4l8 7v9h-5v-6H9v6H4z",
  history: "M4 20V10m5.3 10V4m5.4 16v-7M20 20V8",
  devices: "M9 3v5m6-5v5M7 8h10v4a5 5 0 0 1-10 0zm5 9v4",
  wallet: "M4 7h15v12H4zM4 7l11-3v3m1 5.5h3v2h-3z",
  market: "M4 8h13l-3-3m6 11H7l3 3",
  community:
    "M9 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6Zm-6 8c0-3 2.5-5 6-5s6 2 6 5m1-14a3 3 0 0 1 0 6m2 3c2 .5 3 2.5 3 5",
  alerts: "M6 17V11a6 6 0 0 1 12 0v6l1.5 1.5h-15zm4 4h4",
  origin: "M5 19c0-9 5-13 14-14 0 9-4 14-11 14m-3 2c1-5 4-8 8-10",
  apps: "M4 4h6v6H4zm10 0h6v6h-6zM4 14h6v6H4zm10 0h6v6h-6z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  solar:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-6v2m0 16v2M2 12h2m16 0h2M5 5l1.4 1.4m11.2 11.2L19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  grid: "M8 21 11 3h2l3 18M6 9h12M7 14h10M9 9l6.5 5M15 9l-6.5 5",
  battery: "M7 6h10v15H7zm3-3h4v3h-4zm3 6-3 5h4l-3 4",
  meter: "M4 15a8 8 0 1 1 16 0M12 15l4-5M4 19h16",
  left: "m14 6-6 6 6 6",
  right: "m10 6 6 6-6 6",
} as const;

export type IconName = keyof typeof PATHS;

export function iconPath(name: IconName): string {
  return PATHS[name];
}

const OF_KIND: Record<string, IconName> = {
  generator: "solar",
  storage: "battery",
  monitor: "meter",
  consumer: "devices",
};

/** The icon of a device's kind. */
export function kindIcon(kind: string): IconName {
  return OF_KIND[kind] ?? "devices";
}

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
