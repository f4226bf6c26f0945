// Filters and sorts the table of the VMs. Everything can be read without it.
'use strict';
{
  const section = document.getElementById('vms');
  const table = section.querySelector('table');
  const form = section.querySelector('form');
  const pages = section.querySelector('.pages');
  const headers = [...table.tHead.rows[0].cells];
  const [RACK, PAPER] = [2, 2000];
  const collator = new Intl.Collator('en', { numeric: true });

  const rows = [...table.querySelectorAll('tbody tr')];
  const texts = new Map();
  const body = table.tBodies[0];
  [...table.tBodies].slice(1).forEach((rest) => rest.remove());

  let found = rows;
  let first = 0;
  let sorted = { column: null, ascending: true };

  const text = (row) => {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  };
  const cell = (row, column) => row.cells[column].textContent;

  const count = (n) => n.toLocaleString('en');
  const perPage = () => Number(form.elements.rows.value) || rows.length;

  function show() {
    const last = Math.min(first + perPage(), found.length);
    body.replaceChildren(...found.slice(first, last));
    const which = found.length === 0 ? '' : `, shown: ${count(first + 1)} to ${count(last)}`;
    pages.querySelector('[role=status]').textContent = `${count(found.length)} of ${count(rows.length)} rows${which}`;
    pages.querySelector('[name=back]').disabled = first === 0;
    pages.querySelector('[name=on]').disabled = last === found.length;
  }

  function find() {
    const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = form.elements.outcome.value;
    const rack = form.elements.rack.value;
    found = rows.filter((row) =>
      (outcome === '' || row.classList.contains(outcome)) &&
      (rack === '' || cell(row, RACK) === rack) &&
      words.every((word) => text(row).includes(word)));
    order();
  }

  // Empty cells come last, whichever way the others are sorted.
  function order() {
    const { column, ascending } = sorted;
    if (column !== null) {
      const keyed = found.map((row) => [cell(row, column), row]);
      keyed.sort(([a], [b]) =>
        (a === '') - (b === '') || (ascending ? collator.compare(a, b) : collator.compare(b, a)));
      found = keyed.map(([, row]) => row);
    }
    first = 0;
    show();
  }

  function sortBy(column) {
    sorted = { column, ascending: sorted.column !== column || !sorted.ascending };
    headers.forEach((header) => header.removeAttribute('aria-sort'));
    headers[column].setAttribute('aria-sort', sorted.ascending ? 'ascending' : 'descending');
    find();
  }

  function turn(by) {
    first = Math.max(0, first + by * perPage());
    show();
  }

  headers.forEach((header, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...header.childNodes);
    button.addEventListener('click', () => sortBy(column));
    header.append(button);
  });

  const racks = [...new Set(rows.map((row) => cell(row, RACK)))].filter(Boolean).sort(collator.compare);
  form.elements.rack.append(...racks.map((rack) => new Option(rack, rack)));

  let typing;
  form.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(find, 100);
  });
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(find));
  pages.querySelector('[name=back]').addEventListener('click', () => turn(-1));
  pages.querySelector('[name=on]').addEventListener('click', () => turn(1));
  document.querySelectorAll('[data-find]').forEach((link) => link.addEventListener('click', () => {
    form.reset();
    form.elements.text.value = link.dataset.find;
    form.elements.outcome.value = link.dataset.outcome || 'failed';
    find();
  }));

  // Paper shows what was found, not the page of it that the screen shows.
  addEventListener('beforeprint', () => body.replaceChildren(...found.slice(0, PAPER)));
  addEventListener('afterprint', show);

  form.hidden = pages.hidden = false;
  show();
}
