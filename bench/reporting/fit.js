// Fit charts to the width of their card.
const CHARACTER = 7;  // approximate width of a character of a label, px
const LEAST_PANEL = 240;  // px; narrower panels stand below each other
const NARROW = 620;  // px; below, long names are broken into lines
const unitOf = chart => chart.spec ?? chart;
const encodings = part => part === null || typeof part !== "object" ? []
  : [...(part.encoding ? [part.encoding] : []), ...Object.values(part).flatMap(encodings)];
const longest = names => Math.max(0, ...names.map(name => String(name).length));

// Return the specification with panels of `room` px in total, of which `extra` are axes and margins.
const fitted = (specification, rows, room, extra) => {
  const chart = structuredClone(specification), unit = unitOf(chart);
  const panels = chart.facet ? new Set(rows.map(row => row[chart.facet.field])).size : 1;
  let columns = Math.max(1, Math.min(chart.columns ?? 1, panels));
  if ((room - extra) / columns < LEAST_PANEL) columns = 1;
  if (chart.facet) chart.columns = columns;
  const all = encodings(chart), narrow = room < NARROW;
  const own = Math.max(90, Math.floor((room - extra) / columns));
  let bands = 1;
  if (unit.width?.step) {
    const {field} = all.find(encoding => encoding.x?.field).x;
    const names = [...new Set(rows.map(row => row[field]))];
    bands = names.length;
    unit.width = {step: Math.max(20, own / bands)};
    for (const {x} of all.filter(encoding => encoding.x?.field === field))
      x.axis = {...x.axis, labelAngle: CHARACTER * longest(names) > own / bands ? -30 : 0};
  } else unit.width = own;
  for (const encoding of all) {
    for (const {legend, scale} of Object.values(encoding).filter(x => x?.legend && x.scale?.domain))
      legend.columns = Math.max(1, Math.min(legend.columns ?? 4,
        Math.floor(room / (CHARACTER * longest(scale.domain) + 34))));
    if (narrow && encoding.y?.type === "nominal") {
      const lines = rows.map(row => 1 + (String(row[encoding.y.field]).match(/[:,]/g) ?? []).length);
      encoding.y.axis = {...encoding.y.axis, labelLimit: 0.45 * room,
        labelExpr: "split(replace(datum.label, /([:,])/g, '$1\\n'), '\\n')"};
      if (unit.height?.step) unit.height.step = Math.max(unit.height.step, 14 * Math.max(...lines) + 6);
    }
  }
  if (chart.facet) {
    const length = longest(rows.map(row => row[chart.facet.field]));
    if (CHARACTER * length > own) chart.facet.header = {...chart.facet.header,
      labelExpr: "split(replace(datum.label, /, /g, ',\\n'), '\\n')"};
  }
  const width = unit.width.step ? unit.width.step * bands : unit.width;
  return {chart, panels: columns * width};
};
