// What STAC Browser opens, and how. CATALOG, the address of a catalog or an API relative to this file, is stated
// in a line before.
window.STAC_BROWSER_CONFIG = {
  catalogUrl: new URL(CATALOG, document.currentScript.src).href,
  catalogTitle: "DeepSentinel",
  allowExternalAccess: false, // it shows this catalog, not whatever address a link carries
  itemsPerPage: 24, // rows of 2, 3 and 4 cards
  searchResultsPerPage: 24,
  socialSharing: [],
  displayOverview: false, // the map shows the true-colour thumbnail, not the radar overview; the gallery has all
  // The map lays a picture over the UTM box around the item's box in degrees: 6 % too large where meridians converge
  // by 2 degrees. The item states the true box of its pixels.
  getMapSourceOptions: (type, options, picture) => {
    const box = "imageExtent" in options && picture?.getMetadata("proj:bbox");
    const inItsOwn = box && options.projection?.getCode?.() === picture.getMetadata("proj:code");
    return inItsOwn ? { ...options, imageExtent: box } : options;
  },
};
